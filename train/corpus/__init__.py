"""Corpora from files: text → documents → tokens in Megatron-LM's memory-mapped format → rows in a seekable order."""
