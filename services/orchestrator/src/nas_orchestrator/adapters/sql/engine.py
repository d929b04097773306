"""How the database is opened, and brought to the present schema."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from nas_shared.errors import InvalidArgument, Unavailable

_BUSY_TIMEOUT_MS = 10_000


def open_database(url: str) -> sa.Engine:
    """Opens the database at `url` and migrates it to the newest schema.

    Args:
      url: `sqlite:///<path>`; the directory of the file must exist.
    Raises:
      InvalidArgument: if the URL is malformed or of a database this version does not know.
      Unavailable: if the database cannot be opened or migrated.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise InvalidArgument(f"--database={url}: expected sqlite:///<path>") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise InvalidArgument(f"--database={parsed.render_as_string()}: expected sqlite:///<path>")
    directory = Path(parsed.database).parent
    if not directory.is_dir():
        raise InvalidArgument(f"--database={url}: there is no directory {directory}")
    engine = sa.create_engine(
        parsed,
        poolclass=sa.pool.QueuePool,
        connect_args={"check_same_thread": False, "isolation_level": None},
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    try:
        migrate(engine)
    except sa.exc.DBAPIError as error:
        raise Unavailable(f"--database={url}: {error.orig}") from error
    return engine


def migrate(engine: sa.Engine, revision: str = "head") -> None:
    """Runs the migrations the database has not seen, up to `revision`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    cursor = connection.cursor()
    # Readers do not wait for the writer; FULL makes a commit survive a power cut, not just a kill.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # The driver begins nothing by itself; this is for the migrations, the store begins on its own.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
