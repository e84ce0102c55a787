"""Files: checkpoints, run directories, chunks of draws, ArviZ."""
