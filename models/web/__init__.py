"""What the pages of the hub and of the nodes share: look, languages, tables; people, sessions and rights (ADR 0003)."""
