"""Run record + verdict + forecast → one self-contained page. Computes nothing that is not in a record."""
