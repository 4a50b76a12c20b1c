"""Readers of pixels, one file each; found by name (seco.collect.rasters)."""
