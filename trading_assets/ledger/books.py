"""Whose the ledger is: the accounts whose money its rows are about, and the market that its research is about.

Reads, and the one write that binds. What follows from a difference, `trading.binding` decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.core.errors import WrongBooksError
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import accounts, research_market

LOCK = "books"
_ONE = 1


@dataclass(frozen=True)
class Owner:
    """An account of a venue.

    Attributes:
        venue: value of the setting; empty while nobody has said whose rows these are.
        user_id: the venue's number of the account; None where the venue does not tell it.
        market: whose prices the account trades at.
    """

    venue: str
    user_id: str | None
    market: str

    @property
    def is_bound(self) -> bool:
        return bool(self.venue)

    def __str__(self) -> str:
        number = (
            "an account whose number it does not tell" if self.user_id is None else f"account number {self.user_id}"
        )
        return f"{number} at {self.venue}, which trades the market {self.market!r}"


@dataclass(frozen=True)
class Binding:
    """What the ledger says of one of its accounts. None: nothing was ever recorded. An empty market: unbound."""

    owner: Owner | None
    market: str | None


def read(database: Database, account: str) -> Binding:
    """Return whose rows the account's are, and which market the research is of."""
    with database.read() as connection:
        return _read(connection, account)


def accounts_of(database: Database) -> dict[str, Owner]:
    """Return every account that the ledger knows, by name."""
    with database.read() as connection:
        rows = connection.execute(sa.select(accounts).order_by(accounts.c.name)).mappings()
        return {str(row["name"]): _owner(row) for row in rows}


def bind(database: Database, account: str, owner: Owner, *, by: str, wall_ms: int, replace: bool = False) -> Binding:
    """Bind what nobody has claimed yet: the account's rows to an owner, the research to its market.

    Args:
        by: who says so, for the history.
        replace: rows of an older version, which say nothing of their owner, are bound, too.

    Return what holds afterwards: where another process was first, it is that one's.

    Raises:
        WrongBooksError: the ledger has this account of the venue under another name; nothing was bound.
    """
    with database.write(one_at_a_time=LOCK) as connection:
        held = _read(connection, account)
        if held.owner is None or not held.owner.is_bound:
            _refuse_second_name(connection, account, owner)
        told = {"bound_wall_ms": wall_ms, "bound_by": by}
        if held.market is None:
            connection.execute(sa.insert(research_market).values(market_id=_ONE, name=owner.market, **told))
        elif replace and not held.market:
            connection.execute(sa.update(research_market).values(name=owner.market, **told))
        values = {"venue": owner.venue, "user_id": owner.user_id, "market": owner.market, **told}
        if held.owner is None:
            connection.execute(sa.insert(accounts).values(name=account, **values))
        elif replace and not held.owner.is_bound:
            connection.execute(sa.update(accounts).where(accounts.c.name == account).values(**values))
        return _read(connection, account)


def _refuse_second_name(connection: sa.Connection, account: str, owner: Owner) -> None:
    """Two names for one account would each trade, count and close the other's positions."""
    same = sa.select(accounts.c.name).where(
        accounts.c.name != account, accounts.c.venue == owner.venue, accounts.c.user_id == owner.user_id
    )
    other = connection.execute(same).scalars().first() if owner.user_id is not None else None
    if other is not None:
        raise WrongBooksError(
            f"the key of {account!r} is of {owner}, which this ledger has under the name {other!r} already: two names "
            f"for one account would trade each other's money. Nothing was done: give {account!r} the key of an account "
            "of its own"
        )


def bind_market(database: Database, market: str, *, by: str, wall_ms: int) -> str:
    """Bind the research of a ledger without any to a market. Return the market that it is of afterwards."""
    with database.write(one_at_a_time=LOCK) as connection:
        held = connection.execute(sa.select(research_market.c.name)).scalar_one_or_none()
        if held is not None:
            return str(held)
        connection.execute(
            sa.insert(research_market).values(market_id=_ONE, name=market, bound_wall_ms=wall_ms, bound_by=by)
        )
    return market


def market_of(database: Database) -> str | None:
    """Return the market that the research is of; None before the first, empty where nobody has said it."""
    with database.read() as connection:
        return connection.execute(sa.select(research_market.c.name)).scalar_one_or_none()


def _read(connection: sa.Connection, account: str) -> Binding:
    row = connection.execute(sa.select(accounts).where(accounts.c.name == account)).mappings().one_or_none()
    market = connection.execute(sa.select(research_market.c.name)).scalar_one_or_none()
    return Binding(_owner(row) if row is not None else None, market)


def _owner(row: sa.RowMapping) -> Owner:
    return Owner(str(row["venue"]), row["user_id"], str(row["market"]))
