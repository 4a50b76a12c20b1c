"""Scenes as COGs that are made when they are read, and the servers for them."""
