"""Use: load an encoder and put it to work."""
