"""Reference → randomly initialised model → data → DeepSpeed engine → steps → checkpoints, and the run record."""
