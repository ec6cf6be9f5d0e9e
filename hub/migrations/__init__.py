"""The database's schema by versions (Alembic, without an ini file)."""
