"""Accuracy of digua's models beside everything else that could be trained, one cell a fit (see README.md)."""
