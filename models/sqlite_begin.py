"""How SQLite's transactions begin: by the driver itself, as they are too many for a statement's whole way each time."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, OperationalError


def begin_sqlite(connection: Connection, statement: str) -> None:
    """Begin a transaction on a connection whose driver begins none by itself.

    Args:
        connection: of SQLAlchemy's, to SQLite.
        statement: ``BEGIN`` to read, ``BEGIN IMMEDIATE`` to write.

    Raises:
        OperationalError: SQLAlchemy's; the lock cannot be had, or the disk fails.
        DatabaseError: SQLAlchemy's; the file is damaged.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        connection.exec_driver_sql(statement)
        return
    try:
        driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statement, None, error) from error
    except sqlite3.DatabaseError as error:
        raise DatabaseError(statement, None, error) from error
