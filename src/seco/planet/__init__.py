"""A simulated offline planet: ground, seasons and scenes that look, to any reader, like the real thing."""
