"""Learn: one file a method, found by its name. See `seco.methods._contract` for what one must offer."""
