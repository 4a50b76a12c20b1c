"""Layouts of foreign checkpoints, one file each, found by module name (seco.use.convert)."""
