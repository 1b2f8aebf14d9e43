"""The rows of the `strategies` table: which strategies are backtested and traded."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.core.errors import ConflictError, StrategyError
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import strategies as table
from trading_assets.strategies.registry import (
    BrokenStrategy,
    ConfiguredStrategy,
    configure,
    discover,
    strategy_classes,
)

_EXCHANGE = "bybit"


@dataclass(frozen=True)
class ActiveStrategies:
    """Active rows: those that can be used, ordered by name, and those that cannot."""

    usable: tuple[ConfiguredStrategy, ...]
    broken: tuple[BrokenStrategy, ...]


@dataclass(frozen=True)
class RegistryRow:
    """A row as a person reads it."""

    name: str
    is_active: bool
    parameters: str
    description: str


def seed_registry(database: Database) -> None:
    """Add a row that pins no parameters for each strategy that has none. Existing rows stay as they are.

    A row starts active only where its class says `active_by_default`: a new strategy is started by a person.
    """
    with database.read() as connection:
        present = set(connection.execute(sa.select(table.c.name)).scalars())
    for name, kind in strategy_classes().items():
        if name in present:
            continue
        row = {"name": name, "is_active": kind.active_by_default, "exchange": _EXCHANGE}
        try:
            with database.write() as connection:
                connection.execute(sa.insert(table).values(**row, pairs="[]", timeframes="[]", parameters="{}"))
        except ConflictError:
            continue  # another process added it in between


def active_strategies(database: Database) -> ActiveStrategies:
    """Return the rows to backtest and trade. A row that cannot be used never stops the others.

    Modules and entry points that could not be loaded are listed as broken too, whether or not they have a row.
    """
    statement = sa.select(table).where(table.c.is_active, table.c.exchange == _EXCHANGE).order_by(table.c.name)
    with database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    usable: list[ConfiguredStrategy] = []
    broken = list(discover().broken)
    for row in rows:
        configured = configure(row)
        if isinstance(configured, BrokenStrategy):
            broken.append(configured)
        else:
            usable.append(configured)
    return ActiveStrategies(tuple(usable), tuple(broken))


def registry_rows(database: Database) -> list[RegistryRow]:
    """Return every row, by name."""
    with database.read() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.name)).mappings().all()
    classes = strategy_classes()
    return [
        RegistryRow(
            row["name"],
            bool(row["is_active"]),
            row["parameters"],
            classes[row["name"]].description if row["name"] in classes else "its class is missing or broken",
        )
        for row in rows
    ]


def active_names(database: Database) -> frozenset[str]:
    """Return the names of the strategies that may trade now."""
    with database.read() as connection:
        return frozenset(connection.execute(sa.select(table.c.name).where(table.c.is_active)).scalars())


def set_active(database: Database, name: str, active: bool) -> None:
    """Switch a strategy on or off from the next hour on.

    Raises:
        StrategyError: no row has this name.
    """
    with database.write() as connection:
        changed = connection.execute(sa.update(table).where(table.c.name == name).values(is_active=active))
        if not changed.rowcount:
            known = connection.execute(sa.select(table.c.name).order_by(table.c.name)).scalars()
            raise StrategyError(f"unknown strategy {name!r}; known are {', '.join(known)}")
