"""The backtest of a DCA plan on a venue's candles, its table and its picture."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd

from trading_assets.core.candles import Candles
from trading_assets.core.models import Side
from trading_assets.core.ports import MarketData
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger import dca
from trading_assets.reporting.dca_picture import Line, Mark, draw
from trading_assets.trading.dca.backtest import Assumptions, DcaBacktest, Event, simulate
from trading_assets.trading.dca.plans import Plan
from trading_assets.trading.dca.schedule import DcaError, schedule_of

_NAMES = {
    "filled": "scheduled times filled",
    "skipped": "scheduled times skipped",
    "safety_fills": "safety orders filled",
    "targets": "targets reached",
    "held": "held at the end, coins",
    "average_entry": "average entry of that",
    "most_deployed": "most deployed, USD",
    "closed_pnl": "closed, USD",
    "open_pnl": "open, USD",
    "fees": "fees, USD",
    "funding": "funding paid, USD",
    "total": "in all, USD",
    "total_pct": "in all, % of the maximum",
    "max_drawdown": "deepest fall, USD",
    "end": "ended early as",
}


def backtest(
    source: MarketData, plan: Plan, timeframe: Timeframe, start_ms: int, end_ms: int, settings: Settings
) -> tuple[DcaBacktest, Candles]:
    """Run a plan over the candles of [start_ms, end_ms), with the fees and the slippage of the settings.

    Raises:
        DcaError: the plan cannot be, or there are no candles.
        ExchangeError: the venue cannot be read.
    """
    schedule_of(plan.schedule, plan.anchor_ms)
    rules = {one.symbol: one for one in source.instruments()}.get(plan.symbol)
    if rules is None:
        raise DcaError(f"{plan.symbol} is not listed")
    candles = source.candles(plan.symbol, timeframe, start_ms, end_ms)
    costs = Assumptions(
        taker=Decimal(str(settings.taker_fee)),
        maker=Decimal(str(settings.maker_fee)),
        slippage=Decimal(str(settings.slippage_bps)) / 10_000,
    )
    return simulate(plan, candles, source.funding(plan.symbol, start_ms, end_ms), rules, costs), candles


def table(found: DcaBacktest) -> pd.DataFrame:
    """The figures of a backtest for a person: columns `figure`, `value`."""
    row = found.as_row()
    shown = {label: row[name] for name, label in _NAMES.items() if row[name] not in (None, "")}
    texts = {label: f"{value:,.4f}" if isinstance(value, float) else str(value) for label, value in shown.items()}
    return pd.DataFrame({"figure": list(texts), "value": list(texts.values())})


def draw_backtest(found: DcaBacktest, candles: Candles) -> bytes:
    """A picture of a backtest: price, fills, and average entry, stop and target as they moved; PNG."""
    opens = (dca.BUY, dca.SAFETY)
    marks = [Mark(one.what in opens, one.time_ms, float(one.price)) for one in found.events]
    lines = [_line(one) for one in found.events]
    side = "long" if found.plan.side is Side.BUY else "short"
    title = (
        f"{found.plan.symbol} {side} DCA plan, {found.plan.schedule}: {found.count(dca.FILLED)} entries, most deployed "
        f"{found.most_deployed:.0f}, in all {found.total:+.2f} USD"
    )
    return draw(title, candles, marks, lines, int(candles.start_ms[-1]) + candles.timeframe.ms)


def _line(event: Event) -> Line:
    average, stop, target = (None if one is None else float(one) for one in (event.average, event.stop, event.target))
    return Line(event.time_ms, average, stop, target)
