"""The mark of the installation: which home belongs to this ledger, and which code its daemon runs. One row."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import installation as table

_ONE = 1
_LOCK = "installation"


@dataclass(frozen=True)
class Installation:
    """What the ledger knows: the mark of the home, where it was first used, and the code of the daemon's code server.

    Attributes:
        code_version: None where no code server has said it yet.
    """

    mark: str
    home: str
    code_version: str | None


def read(database: Database) -> Installation | None:
    """Return the mark; None where the ledger has none yet."""
    with database.read() as connection:
        return _read(connection)


def claim(database: Database, mark: str, home: str, *, replace: bool = False) -> Installation:
    """Say that the home with this mark is the ledger's, unless it has one already. Return what holds afterwards.

    Args:
        home: where it is, for people.
        replace: a person says so: it takes the place of another.
    """
    with database.write(one_at_a_time=_LOCK) as connection:
        held = _read(connection)
        if held is None:
            connection.execute(sa.insert(table).values(installation_id=_ONE, mark=mark, home=home))
        elif replace:
            connection.execute(sa.update(table).values(mark=mark, home=home))
        found = _read(connection)
    if found is None:
        raise AssertionError("the row was just written")
    return found


def say_code(database: Database, code: str) -> None:
    """The code server runs this code: what other processes run is compared with it."""
    held = read(database)
    if held is not None and held.code_version != code:
        with database.write(one_at_a_time=_LOCK) as connection:
            connection.execute(sa.update(table).values(code=code))


def _read(connection: sa.Connection) -> Installation | None:
    row = connection.execute(sa.select(table.c.mark, table.c.home, table.c["code"])).one_or_none()
    return Installation(*row) if row is not None else None
