"""Files: checkpoints, run directories, chunks of draws, archives, ArviZ."""
