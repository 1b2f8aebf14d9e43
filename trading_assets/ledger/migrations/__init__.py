"""Migrations of the ledger's schema, up and down. The revisions are in `versions`, one a file.

A new revision is a file there, in step with `ledger.tables`, and its number in `HEAD`. Alembic is imported only when
there is something to do: a ledger at head costs one query to open.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from trading_assets.core.errors import StorageError
from trading_assets.ledger.tables import closings, metadata, schema_compatibility

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0038"
"""The newest revision."""

WORKS_SINCE = "0038"
"""A program that knows this revision works with the schema of today. It is raised to `HEAD` by a revision after which
older programs cannot: one that takes away or renames, that moves rows, or that adds a column which must be given. So
is a column of sealed files: programs before 0038 read no file with a column that they do not know."""

LOCK = "schema"
"""Name of what only one process does at a time."""

_ALEMBIC = threading.Lock()
"""Alembic has one `op` and one `context` in a process."""

_DAGSTERS = "event_logs"
"""A table of Dagster's storage, which counts its revisions in a table of the same name as ours."""

_VERSION = sa.table("alembic_version", sa.column("version_num"))


def revision_of(connection: sa.Connection) -> str | None:
    """Return the schema's revision; None where there is no ledger yet, or one that is older than its migrations."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(_VERSION.name):
        return None
    if inspector.has_table(_DAGSTERS) and not inspector.has_table(closings.name):
        raise StorageError(
            f"the database {connection.engine.url.set(query={}).render_as_string()} holds Dagster's own tables; "
            "the ledger needs one of its own. Create it on the same server (CREATE DATABASE trading_assets) and name "
            "it in TRADING_ASSETS_DATABASE_URL"
        )
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar_one_or_none()


def is_usable(connection: sa.Connection) -> bool:
    """Whether this program works with the schema as it is: that of `HEAD`, or a newer one that says so.

    While a release is rolled out, and after it was taken back, the older version of two works on the ledger.
    """
    revision = revision_of(connection)
    if revision == HEAD:
        return True
    if revision is None or revision in revisions():
        return False
    if not sa.inspect(connection).has_table(schema_compatibility.name):
        return False
    since = connection.execute(sa.select(schema_compatibility.c.works_since)).scalar_one_or_none()
    return since is not None and since <= HEAD


def upgrade(connection: sa.Connection, revision: str = HEAD) -> None:
    """Bring the schema to `HEAD`, or to an earlier revision, inside the caller's transaction.

    Raises:
        StorageError: the schema is newer than this program.
    """
    from alembic import command  # noqa: PLC0415 (costs 0.2 s, and is seldom needed)

    require_known(revision_of(connection))
    with _ALEMBIC:
        command.upgrade(_config(connection), revision)
    if revision == HEAD:
        connection.execute(sa.delete(schema_compatibility))
        connection.execute(sa.insert(schema_compatibility).values(works_since=WORKS_SINCE))
    if connection.dialect.supports_comments and revision == HEAD:
        _describe(connection)


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Take the schema back to an earlier revision, inside the caller's transaction. What only newer ones hold is lost.

    Raises:
        StorageError: the revision is unknown, or newer than the schema.
    """
    from alembic import command  # noqa: PLC0415 (as above)

    held = revision_of(connection)
    require_known(held)
    known = [number for number in revisions() if held is not None and number <= held]
    if revision not in known:
        raise StorageError(
            f"the ledger is at revision {held or 'none'}; it can be taken back to {', '.join(known) or 'none'}, "
            f"not to {revision!r}"
        )
    with _ALEMBIC:
        command.downgrade(_config(connection), revision)


def revisions() -> list[str]:
    """Return the numbers of all revisions, oldest first."""
    return sorted(path.stem[1:5] for path in (Path(__file__).parent / "versions").glob("r[0-9]*.py"))


def require_known(revision: str | None) -> None:
    """Check that this program knows the revision.

    Raises:
        StorageError: it does not, so a newer program made it.
    """
    if revision is not None and revision not in revisions():
        raise StorageError(
            f"the ledger is at revision {revision}, but this program knows none newer than {HEAD}: a newer version "
            "wrote it. Install that version, or let it take the ledger back with: trading-assets ledger downgrade "
            f"{HEAD}"
        )


def _config(connection: sa.Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415 (as above)

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _describe(connection: sa.Connection) -> None:
    """Set the comments of `ledger.tables`, where the database keeps comments: revisions have none."""
    described: list[sa.schema.SetTableComment | sa.schema.SetColumnComment] = [
        *(sa.schema.SetTableComment(table) for table in metadata.sorted_tables if table.comment),
        *(sa.schema.SetColumnComment(column) for table in metadata.sorted_tables for column in table.columns),
    ]
    connection.exec_driver_sql(";".join(str(statement.compile(dialect=connection.dialect)) for statement in described))
