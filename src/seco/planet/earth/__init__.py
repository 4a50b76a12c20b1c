"""The ground, its seasons, its sun and sky, and the pixels that a satellite would see."""
