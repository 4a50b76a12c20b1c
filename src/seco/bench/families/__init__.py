"""Families of rows, one file each, found by its name. See `seco.bench.family` for what one must offer."""
