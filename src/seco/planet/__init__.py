"""A simulated Earth that needs no network: real geography, made-up seasons, known labels."""
