"""Alembic's entry: runs migrations on the connection that `hub.migrations.runner` hands over."""

from __future__ import annotations

from alembic import context

from hub.tables.base import load_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=load_tables(),
    # SQLite cannot alter most things in place: Alembic copies the table.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
