"""Versions of the platform's schema: one linear history."""
