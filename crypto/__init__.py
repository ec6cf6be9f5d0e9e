"""Primitives and composed protocols: true of bytes and integers; no I/O, no clock, no framework."""
