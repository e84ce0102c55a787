"""Training: where chains start, one update, the loop, and the divergence monitor."""
