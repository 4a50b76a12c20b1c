"""Sensors: what a band is, in which units its numbers are, and which of them are cloud. One file a sensor."""
