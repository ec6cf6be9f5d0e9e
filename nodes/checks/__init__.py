"""Checks of an installation: machine, way to the hub, and data; each says what to do about what it finds."""
