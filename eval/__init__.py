"""lm-eval runs, readers of its result files, the replication criterion and its statistics."""
