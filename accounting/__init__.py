"""What a model of a given shape costs, by arithmetic. No torch, no files, no randomness."""
