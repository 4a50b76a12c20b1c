"""Train: the loop, its data, its checkpoints and its probe."""
