"""Alembic's entry: runs migrations on the connection that `hub.platform.migrations.runner` hands over."""

from __future__ import annotations

from alembic import context

from hub.platform.tables.base import load_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=load_tables(),
    # SQLite cannot alter most things in place: Alembic copies the table.
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
