"""Grids and DCA plans of a day against their backtests: rows of `live_parity`, one for each order that was filled.

A grid or plan is run again from its start to the end of the day, as the ledger has it now. Writes nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import pandas as pd

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import Instrument, Side
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, floor_ms, iso
from trading_assets.ledger import dca, grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.ledger.grids import FillRow, Grid, LevelRow
from trading_assets.trading.dca import accounting as of_dca
from trading_assets.trading.dca.backtest import Assumptions
from trading_assets.trading.dca.backtest import simulate as run_plan
from trading_assets.trading.dca.books import Whose
from trading_assets.trading.dca.plans import plan_of as dca_plan
from trading_assets.trading.grid import accounting as of_grids
from trading_assets.trading.grid.bars import bars_of
from trading_assets.trading.grid.laying import plan_of as grid_plan
from trading_assets.trading.grid.simulation import GridCosts
from trading_assets.trading.grid.simulation import simulate as run_grid
from trading_assets.trading.parity.compare import Outcome, Verdict
from trading_assets.trading.parity.fills import Pair, PlanFill, compare_fills, passes

LoadHeld = Callable[[str, Timeframe, int], Candles]

LONGEST_REPLAYED_MS = 31 * DAY_MS
"""A grid or plan that began longer before the day is not run again."""

MAKER_SHARE = Decimal("0.6")
"""A fee below that share of the taker's is a maker's."""


def compare_plans(
    day_ms: int,
    database: Database,
    *,
    settings: Settings,
    instruments: Mapping[str, Instrument],
    load_held: LoadHeld,
) -> pd.DataFrame:
    """Rows of `live_parity` of the day that starts at `day_ms` (UTC ms)."""
    end_ms, rows = day_ms + DAY_MS, list[dict[str, object]]()
    living: list[Grid | PlanRow] = [*grids.between(database, settings.account, day_ms, end_ms)]
    living += dca.between(database, settings.account, day_ms, end_ms)
    for one in living:
        rules = instruments.get(one.symbol)
        if rules is None or one.created_ms < day_ms - LONGEST_REPLAYED_MS:
            continue
        # The candle in which it began comes first: the backtest begins at its close.
        candles = load_held(one.symbol, Timeframe.M1, floor_ms(one.created_ms, Timeframe.M1.ms) + Timeframe.M1.ms)
        if one.ended_ms is not None:
            candles = candles.select(candles.start_ms <= one.ended_ms)
        if len(candles) < 2:
            continue
        with database.read() as connection:
            pairs = (
                _of_grid(
                    of_grids.accounts_of(connection, one), grids.levels_of(connection, one), rules, candles, settings
                )
                if isinstance(one, Grid)
                else _of_plan(of_dca.accounts_of(connection, one), rules, candles, settings)
            )
        rows += [_row(day_ms, one, pair) for pair in pairs if day_ms <= pair.one.time_ms < end_ms]
    return LIVE_PARITY.conform(pd.DataFrame(rows, columns=LIVE_PARITY.columns))


def _of_grid(
    accounts: of_grids.Accounts,
    levels: Sequence[LevelRow],
    rules: Instrument,
    candles: Candles,
    settings: Settings,
) -> list[Pair]:
    grid, orders = accounts.grid, {order.order_link_id: order for order in accounts.orders}
    by_id = {order.order_id: order for order in accounts.orders}
    live = []
    for rows in _by_order(accounts.rows):
        order = orders.get(rows[0].order_link_id) or by_id[rows[0].order_id or rows[0].exec_id]
        key = _grid_key(order.level_index, order.purpose, rows[0].side)
        live.append(_live(key, rows, settings, order.created_ms))
    tolerance = settings.parity_tolerance_bps
    if grid.generation > 1 or not levels:
        moved = Verdict(Outcome.MOVED, f"its levels were laid {grid.generation} times, the last are known")
        return [
            replace(pair, verdict=moved) if pair.verdict.outcome is Outcome.WITHIN else pair
            for pair in compare_fills(live, [], candles, tolerance, lambda _one: moved)
        ]
    taker, maker = Decimal(str(settings.taker_fee)), Decimal(str(settings.maker_fee))
    costs = GridCosts(maker, taker, Decimal(str(settings.slippage_bps)) / 10_000)
    # Quantities move with the price of the start, which is not the close of the candle to the last digit.
    found = run_grid(grid_plan(grid), bars_of(candles), rules, costs, Funding.empty(), qty=levels[0].qty)
    expected = [
        PlanFill(
            _grid_key(one.level_index, one.purpose, one.side),
            one.side is Side.BUY,
            one.time_ms,
            float(one.price),
            one.is_maker,
        )
        for one in found.fills
    ]

    def why_not(one: PlanFill) -> Verdict:
        start_ms = one.time_ms - candles.timeframe.ms
        own = [order for order in accounts.orders if _grid_key(order.level_index, order.purpose, order.side) == one.key]
        waiting = [each for each in own if each.created_ms < start_ms]
        waiting = [each for each in waiting if each.status != grids.DONE or each.updated_ms > one.time_ms]
        if waiting:
            return Verdict(Outcome.NOT_FILLED, f"the candle to {iso(one.time_ms)} passed {one.price:g}")
        blocked = next((row.blocked for row in levels if one.key.startswith(f"level {row.level_index} ")), None)
        ended = max(
            (each for each in own if each.updated_ms <= one.time_ms), key=lambda each: each.updated_ms, default=None
        )
        why = blocked or (ended.reason if ended is not None else None) or grid.reason
        if why is None and grid.state == grids.RUNNING:
            return Verdict(
                Outcome.NO_ORDER, f"the candle to {iso(one.time_ms)} passed {one.price:g}, no order was there"
            )
        return Verdict(Outcome.IDLE, why or f"the grid is {grid.state}")

    return compare_fills(live, expected, candles, tolerance, why_not)


def _of_plan(accounts: of_dca.Accounts, rules: Instrument, candles: Candles, settings: Settings) -> list[Pair]:
    row, orders = accounts.row, {order.order_link_id: order for order in accounts.orders}
    whose = {fill.exec_id: one for one, fill in accounts.fills}
    live, ends = list[PlanFill](), 0
    for rows in _by_order(fill for one, fill in accounts.fills if one is not Whose.OTHER):
        order, first = orders.get(rows[0].order_link_id), rows[0]
        if whose[first.exec_id] is Whose.OWN and order is not None and order.opens:
            key = _plan_key(ends, order.purpose, order.due_ms, order.step)
        else:
            key, ends = _plan_key(ends, "end", None, None), ends + 1
        live.append(_live(key, rows, settings, order.created_ms if order is not None else 0))
    costs = Assumptions(
        Decimal(str(settings.taker_fee)), Decimal(str(settings.maker_fee)), Decimal(str(settings.slippage_bps)) / 10_000
    )
    found = run_plan(dca_plan(row), candles, Funding.empty(), rules, costs)
    due = iter(time_ms for time_ms, outcome, _ in found.times if outcome == dca.FILLED)
    expected, ends, steps = list[PlanFill](), 0, 0
    for one in found.events:
        is_buy = (row.side is Side.BUY) == (one.what in (dca.BUY, dca.SAFETY))
        if one.what == dca.BUY:
            key = _plan_key(ends, one.what, next(due), None)
        elif one.what == dca.SAFETY:
            key, steps = _plan_key(ends, one.what, None, steps + 1), steps + 1
        else:
            key, ends, steps = _plan_key(ends, "end", None, None), ends + 1, 0
        # An event has the time of its candle's start, a scheduled one its own.
        end_ms = floor_ms(one.time_ms, candles.timeframe.ms) + candles.timeframe.ms
        expected.append(PlanFill(key, is_buy, end_ms, float(one.price), one.what == dca.SAFETY))
    buys = {_plan_key(0, dca.BUY, buy.due_ms, None): buy for buy in accounts.buys}

    def why_not(one: PlanFill) -> Verdict:
        buy = buys.get(one.key)
        if buy is not None and buy.outcome in (dca.SKIPPED, dca.REFUSED):
            return Verdict(Outcome.FAILED if buy.outcome == dca.REFUSED else Outcome.GATE, buy.reason)
        if row.state != dca.RUNNING:
            return Verdict(Outcome.IDLE, row.reason or f"the plan is {row.state}")
        if one.key.startswith(dca.BUY):
            said = f"is {buy.outcome}" if buy is not None else "has no outcome"
            return Verdict(Outcome.NO_ORDER, f"the scheduled time {said} in the ledger")
        after = candles.select(candles.end_ms >= one.time_ms)
        away = one.price * settings.parity_tolerance_bps / 10_000 * (-1 if one.is_buy else 1)
        told = f"the candle to {iso(one.time_ms)} passed {one.price:g}"
        if passes(after, one.price + away, is_buy=one.is_buy):
            return Verdict(Outcome.NOT_FILLED, told)
        return Verdict(Outcome.LEVELS, f"{told} by less than the tolerance: live's follows from its own fills")

    return compare_fills(live, expected, candles, settings.parity_tolerance_bps, why_not, follows=True)


def _grid_key(level: int | None, purpose: str, side: Side) -> str:
    return f"{'grid' if level is None else f'level {level}'} {purpose} {side.value}"


def _plan_key(ends: int, purpose: str, due_ms: int | None, step: int | None) -> str:
    """A scheduled time is itself whatever happened before; what hangs on it counts in its round."""
    return f"{purpose} {iso(due_ms)}" if due_ms is not None else f"round {ends} {purpose} {step or ''}".rstrip()


def _by_order(rows: Iterable[FillRow]) -> list[list[FillRow]]:
    """Executions of each order, in the order of their first ones."""
    found: dict[str, list[FillRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda one: one.time_ms):
        found[row.order_id or row.order_link_id or row.exec_id].append(row)
    return list(found.values())


def _live(key: str, rows: Sequence[FillRow], settings: Settings, since_ms: int) -> PlanFill:
    qty, value, fees = (sum((getattr(row, name) for row in rows), Decimal(0)) for name in ("qty", "value", "fee"))
    is_maker = fees < value * Decimal(str(settings.taker_fee)) * MAKER_SHARE
    first = rows[0]
    link = first.order_link_id or first.order_id or first.exec_id
    return PlanFill(key, first.side is Side.BUY, first.time_ms, float(value / qty), is_maker, link, since_ms)


def _row(day_ms: int, of: Grid | PlanRow, pair: Pair) -> dict[str, object]:
    one, expected, live = pair.one, pair.expected, pair.live
    name, identity = ("grid", of.grid_id) if isinstance(of, Grid) else ("dca", of.plan_id)
    bar_ms = Timeframe.M1.ms
    return {
        "day_ms": day_ms,
        "signal_id": f"{identity}:{one.key}:{live.link if live is not None else one.time_ms}",
        "account": of.account,
        "hour_ms": floor_ms(one.time_ms, HOUR_MS),
        "symbol": of.symbol,
        "timeframe": Timeframe.M1.value,
        "strategy": name,
        "bar_close_ms": floor_ms(one.time_ms, bar_ms) + (bar_ms if live is not None else 0),
        "position_type": "LONG" if one.is_buy else "SHORT",
        "expected": int(expected is not None),
        "live": int(live is not None),
        "outcome": pair.verdict.outcome.value,
        "explained": int(pair.verdict.outcome.explained),
        "reason": pair.verdict.reason,
        "entry_price": expected.price if expected is not None else math.nan,
        "live_entry_price": live.price if live is not None else math.nan,
        # What entries of signals slip is told by this column.
        "slippage_bps": math.nan,
        "exit_reason": None,
        "live_exit_reason": None,
        "exit_price": math.nan,
        "live_exit_price": math.nan,
        "exit_difference_bps": math.nan,
    }
