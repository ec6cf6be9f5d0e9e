"""Implementations of Flower's Grid."""
