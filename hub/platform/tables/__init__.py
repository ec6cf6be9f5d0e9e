"""Tables of the platform's own database."""
