"""Versions, in order; each is frozen once it was released."""
