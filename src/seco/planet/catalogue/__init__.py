"""Tiles, orbits and STAC items: the planet as scenes."""
