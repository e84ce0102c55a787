"""Sampling: the loop over steps, and the runner on the host with checks, chunks and
checkpoints."""
