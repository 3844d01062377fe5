"""A small generated language with its corpus and its seven benchmarks, all from one seed.

Nothing is downloaded and nothing of the rest of the project is imported. Start reading at
``world.py`` (what is true), then ``grammar.py`` (how it is said), ``corpus.py`` (what a model
trains on) and ``benchmarks.py`` (what it is asked).
"""
