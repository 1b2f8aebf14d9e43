"""Lays a grid anew: the plan it moves to, and how its inventory goes over to the new levels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from trading_assets.core.models import Instrument, Side
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid, LevelRow
from trading_assets.trading.grid.accounting import Accounts
from trading_assets.trading.grid.books import LevelBooks
from trading_assets.trading.grid.levels import (
    ZERO,
    Kind,
    Level,
    OutOfRange,
    Plan,
    Spacing,
    build,
    on_step,
    worst_value,
)
from trading_assets.trading.grid.planning import Cell, Market

_EIGHT = Decimal("1e-8")
_PAUSED = "paused"


def columns_of(plan: Plan) -> dict[str, Any]:
    """The columns of `grids` that a plan fills, but its symbol: `plan_of` is the way back."""
    return {
        "kind": plan.kind.value,
        "spacing": plan.spacing.value,
        "low": plan.low,
        "high": plan.high,
        "levels": plan.levels,
        "capital": plan.capital,
        "leverage": plan.leverage,
        "stop_low": plan.stop_low,
        "stop_high": plan.stop_high,
        "out_of_range": plan.out_of_range.value,
    }


def plan_of(grid: Grid) -> Plan:
    """The plan that a grid follows now."""
    return Plan(
        symbol=grid.symbol,
        kind=Kind(grid.kind),
        spacing=Spacing(grid.spacing),
        low=grid.low,
        high=grid.high,
        levels=grid.levels,
        capital=grid.capital,
        leverage=grid.leverage,
        stop_low=grid.stop_low,
        stop_high=grid.stop_high,
        out_of_range=OutOfRange(grid.out_of_range),
    )


def written(plan: Plan, paused: str | None = None) -> str:
    """A plan as JSON.

    Args:
        paused: why the grid is paused, and will be so when it was laid anew; None: it runs.
    """
    found = {name: None if value is None else str(value) for name, value in asdict(plan).items()}
    return json.dumps(found if paused is None else found | {_PAUSED: paused})


def read_plan(text: str) -> Plan:
    """A plan from JSON, as `written` gives it."""
    raw: Mapping[str, str | None] = json.loads(text)

    def price(name: str) -> Decimal | None:
        value = raw[name]
        return None if value is None else Decimal(value)

    return Plan(
        symbol=str(raw["symbol"]),
        kind=Kind(str(raw["kind"])),
        spacing=Spacing(str(raw["spacing"])),
        low=Decimal(str(raw["low"])),
        high=Decimal(str(raw["high"])),
        levels=int(str(raw["levels"])),
        capital=Decimal(str(raw["capital"])),
        leverage=Decimal(str(raw["leverage"])),
        stop_low=price("stop_low"),
        stop_high=price("stop_high"),
        out_of_range=OutOfRange(str(raw["out_of_range"])),
    )


def moved(plan: Plan, price: Decimal, tick: Decimal) -> Plan:
    """The same plan with bounds of the same width around a price; its stops stay."""
    half = (plan.high - plan.low) / 2
    return replace(plan, low=on_step(price - half, tick), high=on_step(price + half, tick))


def recentred(grid: Grid, price: Decimal, instrument: Instrument) -> str:
    """The plan of a grid around a price, as JSON."""
    return written(moved(plan_of(grid), price, instrument.tick_size))


def rows_of(grid: Grid, levels: Sequence[Level]) -> list[LevelRow]:
    """The levels of a grid as they are written."""
    return [
        LevelRow(
            account=grid.account,
            symbol=grid.symbol,
            level_index=level.index,
            grid_id=grid.grid_id,
            generation=grid.generation,
            low=level.low,
            high=level.high,
            side=level.side,
            qty=level.qty,
            takes_first=level.takes_first,
        )
        for level in levels
    ]


def carry(rows: Sequence[LevelRow], side: Side, held: LevelBooks, price: Decimal) -> list[LevelRow]:
    """Give inventory to the levels that close it, those first that close it next; what is more goes to the last one.

    Args:
        held: quantity, value and fees of what is carried; every level gets it at the average.
    """
    if not held.held:
        return list(rows)
    sign = 1 if side is Side.BUY else -1

    def distance(row: LevelRow) -> Decimal:
        return sign * ((row.high if side is Side.BUY else row.low) - price)

    fit = sorted((row for row in rows if row.side is side and distance(row) > 0), key=distance)
    if not fit:  # the price is beyond all of them: those close first that are nearest to it
        fit = sorted((row for row in rows if row.side is side), key=distance, reverse=True)
    if not fit:  # a neutral grid that starts on the inventory's side has none: the outermost takes it over
        outermost = rows[-1] if side is Side.BUY else rows[0]
        fit = [replace(outermost, side=side)]
    given: dict[int, LevelRow] = {}
    left, value, fees = held.held, held.value, held.fees
    for number, row in enumerate(fit, start=1):
        qty = left if number == len(fit) else min(row.qty, left)
        is_last = qty == left
        part_value = value if is_last else (value * qty / left).quantize(_EIGHT)
        part_fees = fees if is_last else (fees * qty / left).quantize(_EIGHT)
        given[row.level_index] = replace(
            row, carried_qty=qty, carried_value=part_value, carried_fees=part_fees, takes_first=False
        )
        left, value, fees = left - qty, value - part_value, fees - part_fees
        if not left:
            break
    return [given.get(row.level_index, row) for row in rows]


def next_generation(
    grid: Grid, plan: Plan, cells: Sequence[Cell], inventory: Decimal, price: Decimal, instrument: Instrument
) -> tuple[Grid, list[LevelRow]]:
    """A grid and its levels as they go on by another plan. What the old levels hold goes over to the new ones. Pure."""
    levels = build(plan, price, instrument)
    # What is carried makes up for what a long or short grid would buy or sell at once.
    levels = [replace(level, takes_first=False) for level in levels] if inventory else levels
    side = Side.BUY if inventory > 0 else Side.SELL
    held = LevelBooks(
        held=abs(inventory),
        value=sum((cell.books.value for cell in cells if cell.row.side is side), ZERO),
        fees=sum((cell.books.fees for cell in cells if cell.row.side is side), ZERO),
    )
    fresh = replace(
        grid,
        **columns_of(plan),
        state=grids.RUNNING,
        reason=None,
        wanted=None,
        generation=grid.generation + 1,
        # What is carried may be more than the levels of the new plan are for.
        worst_value=max(worst_value(levels), abs(inventory) * price),
        profit_before=grid.profit_before + sum((cell.books.profit for cell in cells), ZERO),
    )
    return fresh, carry(rows_of(fresh, levels), side, held, price)


def lay_anew(
    connection: sa.Connection, grid: Grid, accounts: Accounts, market: Market, instrument: Instrument, now_ms: int
) -> str:
    """Write the next generation of a grid whose old orders have all ended. Return what to tell of it."""
    if grid.wanted is None:
        grids.change(connection, grid.grid_id, now_ms, state=grids.RUNNING, reason=None)
        return "it goes on as it was"
    plan = read_plan(grid.wanted)
    fresh, rows = next_generation(grid, plan, accounts.cells, accounts.inventory, market.last, instrument)
    paused = json.loads(grid.wanted).get(_PAUSED)
    grids.replace_levels(connection, fresh, rows)
    grids.change(
        connection,
        grid.grid_id,
        now_ms,
        state=fresh.state if paused is None else grids.PAUSED,
        reason=paused,
        wanted=None,
        generation=fresh.generation,
        **columns_of(plan),
        worst_value=fresh.worst_value,
        profit_before=fresh.profit_before,
    )
    return (
        f"{plan.levels} levels from {plan.low} to {plan.high}, generation {fresh.generation}; {accounts.inventory} "
        "went over to them"
    )
