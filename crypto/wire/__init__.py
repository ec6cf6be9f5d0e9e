"""Pydantic models of everything that crosses a boundary between parties."""
