"""From a measured run to GPT-3 scale: compute, time and cost with intervals. No torch."""
