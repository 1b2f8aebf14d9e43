"""The rows of the `strategies` table: which strategies are backtested and traded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import sqlalchemy as sa

from trading_assets.core.errors import ConflictError, StrategyError
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import strategies as table
from trading_assets.ledger.tables import strategy_failures
from trading_assets.strategies.grids import AS_DESCRIBED, Grid, Grids, Span, grid_of, named_values, text_of
from trading_assets.strategies.registry import (
    BrokenStrategy,
    ConfiguredStrategy,
    configure,
    discover,
    strategy_classes,
)

_EXCHANGE = "bybit"

_COLUMNS = [table.c[name] for name in ("name", "is_active", "parameters", "grid", "pairs", "timeframes")]


@dataclass(frozen=True)
class ActiveStrategies:
    """Active rows: those that can be used, ordered by name, and those that cannot."""

    usable: tuple[ConfiguredStrategy, ...]
    broken: tuple[BrokenStrategy, ...]


@dataclass(frozen=True)
class RegistryRow:
    """A row as it is stored: pairs, timeframes, parameters and grid are JSON."""

    name: str
    is_active: bool
    parameters: str = "{}"
    grid: str | None = None
    pairs: str = "[]"
    timeframes: str = "[]"

    def configured(self, grids: Grids = AS_DESCRIBED) -> ConfiguredStrategy | BrokenStrategy:
        return configure(vars(self), grids)

    @property
    def description(self) -> str:
        kind = strategy_classes().get(self.name)
        return kind.description if kind is not None else "its class is missing or broken"

    def switched(self, *, active: bool) -> RegistryRow:
        return replace(self, is_active=active)

    def usable(self, grids: Grids = AS_DESCRIBED) -> ConfiguredStrategy:
        """The strategy of the row.

        Raises:
            StrategyError: the row cannot be used.
        """
        found = self.configured(grids)
        if isinstance(found, BrokenStrategy):
            raise StrategyError(f"strategy {self.name!r} cannot be used: {found.reason}")
        return found

    def asked(
        self, parameters: Sequence[str], grid: Sequence[str], pairs: Sequence[str], timeframes: Sequence[str]
    ) -> RegistryRow:
        """The row as a person asks for it; what is empty stays.

        Args:
            parameters: each NAME=VALUE, or NAME= to give it up.
            grid: see `grids.grid_of`.
            pairs, timeframes: lists with commas, or `all`.

        Raises:
            StrategyError: something is malformed, or the row could not be used.
        """
        return self.changed(
            parameters=named_values(parameters),
            grid=grid_of(grid) if grid else "as it is",
            pairs=_listed(pairs),
            timeframes=_listed(timeframes),
        )

    def changed(
        self,
        *,
        parameters: Mapping[str, object] | None = None,
        grid: Grid | Literal["as it is"] | None = "as it is",
        pairs: Sequence[str] | None = None,
        timeframes: Sequence[str] | None = None,
    ) -> RegistryRow:
        """The row with other values; what is None stays.

        Args:
            parameters: by name; None gives a parameter up.
            grid: None is as the setting says.
            pairs, timeframes: all that there are to be; none means all.

        Raises:
            StrategyError: the row could not be used.
        """
        given = _object(self.parameters) | dict(parameters or {})
        row = replace(
            self,
            parameters=_json({name: value for name, value in given.items() if value is not None}),
            grid=self.grid if grid == "as it is" else text_of(grid) if grid is not None else None,
            pairs=self.pairs if pairs is None else _json(sorted(set(pairs))),
            timeframes=self.timeframes if timeframes is None else _json(list(dict.fromkeys(timeframes))),
        )
        found = row.configured()
        if isinstance(found, BrokenStrategy):
            raise StrategyError(f"nothing was changed: {found.reason}")
        return row


def changes(before: RegistryRow, after: RegistryRow, grids: Grids) -> list[str]:
    """What differs between two states of a row, one line each, and what follows of it; none where nothing does."""
    lines = [
        f"{name}: {_shown(old)} -> {_shown(new)}"
        for (name, old), new in zip(vars(before).items(), vars(after).values(), strict=True)
        if old != new
    ]
    if lines:
        lines.append(f"parameter sets tried: {tried(before, grids)} -> {tried(after, grids)}")
        lines.append("backtests follow it from the next hour on; open positions keep their stops")
    return lines


@dataclass(frozen=True)
class Shown:
    """A row in full, as text.

    Attributes:
        facts: by what it is.
        parameters: of each its name, the values that are tried, that of the description (empty where it leaves it
            open), and what it means; none where the row cannot be used.
    """

    facts: Mapping[str, str]
    parameters: Sequence[tuple[str, str, str, str]]


def description_of(row: RegistryRow, grids: Grids) -> Shown:
    """What a person wants to know of a row."""
    facts = {
        "strategy": f"{row.name}: {row.description}",
        "active": "yes" if row.is_active else "no",
        "pairs": _shown(row.pairs),
        "timeframes": _shown(row.timeframes),
        "parameters of the row": row.parameters,
        "grid of the row": _shown(row.grid),
        "parameter sets tried": tried(row, grids),
    }
    found = row.configured(grids)
    if isinstance(found, BrokenStrategy):
        return Shown(facts | {"cannot be used": found.reason}, ())
    facts["said by"] = found.source
    kind = type(found.sets[0])
    default = kind().parameters
    searched = {} if found.search is None else dict(found.search.choices)

    def values_of(name: str) -> str:
        if isinstance(span := searched.get(name), Span):
            return f"{span.low:g} to {span.high:g}"
        values = searched[name] if name in searched else [getattr(one.parameters, name) for one in found.sets]
        return ", ".join(dict.fromkeys(map(_text, values)))

    return Shown(
        facts,
        [
            (
                name,
                values_of(name),
                _text(getattr(default, name)) if name in kind.described_parameters else "",
                field.description or "",
            )
            for name, field in kind.Parameters.model_fields.items()
        ],
    )


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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


def active_strategies(database: Database, grids: Grids = AS_DESCRIBED) -> ActiveStrategies:
    """Return the rows to backtest and trade. A row that cannot be used never stops the others.

    Modules and entry points that could not be loaded are listed as broken too, whether or not they have a row.

    Args:
        grids: how far parameters are varied where a row does not say it.
    """
    return usable_of(registry_rows(database), grids)


def usable_of(rows: Sequence[RegistryRow], grids: Grids = AS_DESCRIBED) -> ActiveStrategies:
    """See `active_strategies`, of rows in hand."""
    usable: list[ConfiguredStrategy] = []
    broken = list(discover().broken)
    for row in rows:
        if not row.is_active:
            continue
        configured = row.configured(grids)
        if isinstance(configured, BrokenStrategy):
            broken.append(configured)
        else:
            usable.append(configured)
    return ActiveStrategies(tuple(usable), tuple(broken))


def registry_rows(database: Database) -> list[RegistryRow]:
    """Return every row of this exchange, by name."""
    statement = sa.select(*_COLUMNS).where(table.c.exchange == _EXCHANGE).order_by(table.c.name)
    with database.read() as connection:
        rows = connection.execute(statement).mappings().all()
    return [RegistryRow(**row) for row in rows]


def registry_row(database: Database, name: str) -> RegistryRow:
    """Return the row of a strategy.

    Raises:
        StrategyError: there is none.
    """
    rows = {row.name: row for row in registry_rows(database)}
    if name not in rows:
        raise StrategyError(f"unknown strategy {name!r}; known are {', '.join(rows)}")
    return rows[name]


def write_row(database: Database, row: RegistryRow) -> None:
    """Store a row that exists already, as it is now to be.

    Raises:
        StrategyError: no row has this name.
    """
    _update(database, row.name, **{name: value for name, value in vars(row).items() if name != "name"})


def remove(database: Database, name: str) -> None:
    """Remove the row of a strategy whose module is gone. Its backtests, signals and orders stay.

    Raises:
        StrategyError: no row has this name, or its class is there: a seeding would add the row again.
    """
    registry_row(database, name)
    kind = strategy_classes().get(name)
    if kind is not None:
        raise StrategyError(
            f"strategy {name!r} is still there, in {kind.__module__}: delete the module first, or stop the strategy "
            f"with: trading-assets strategies stop {name}"
        )
    with database.write() as connection:
        connection.execute(sa.delete(table).where(table.c.name == name))
        # What it raised is of a class that nobody can mend any more.
        connection.execute(sa.delete(strategy_failures).where(strategy_failures.c.strategy == name))


def active_names(database: Database) -> frozenset[str]:
    """Return the names of the strategies that may trade now."""
    with database.read() as connection:
        return frozenset(connection.execute(sa.select(table.c.name).where(table.c.is_active)).scalars())


def set_active(database: Database, name: str, active: bool) -> None:
    """Switch a strategy on or off from the next hour on.

    Raises:
        StrategyError: no row has this name.
    """
    _update(database, name, is_active=active)


def _update(database: Database, name: str, **values: object) -> None:
    with database.write() as connection:
        changed = connection.execute(sa.update(table).where(table.c.name == name).values(**values))
        if not changed.rowcount:
            known = connection.execute(sa.select(table.c.name).order_by(table.c.name)).scalars()
            raise StrategyError(f"unknown strategy {name!r}; known are {', '.join(known)}")


def tried(row: RegistryRow, grids: Grids) -> str:
    """How many parameter sets a row tries, and which."""
    found = row.configured(grids)
    if isinstance(found, BrokenStrategy):
        return "none, the row cannot be used"
    return f"{len(found.sets)} ({found.grid})" if found.search is None else f"up to {found.search.trials} (search)"


def _shown(value: object) -> str:
    return "as the setting says" if value is None else "all" if value == "[]" else str(value)


def _listed(texts: Sequence[str]) -> list[str] | None:
    """The parts of lists with commas; none for `all`, None where nothing was said."""
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    return None if not parts else [] if parts == ["all"] else parts


def _object(text: str) -> dict[str, object]:
    """A JSON object; what a hand has made of the row otherwise counts as none, so that it can be set anew."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _json(value: object) -> str:
    return json.dumps(value, separators=(", ", ": "))
