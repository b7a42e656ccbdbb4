"""One visible training loop, its checkpoints, its events and its plot."""
