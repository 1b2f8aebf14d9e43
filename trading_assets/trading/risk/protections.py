"""Pauses after losses, like freqtrade's protections: cooldown, stops in a row, weak symbols. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import takewhile

from trading_assets.core.models import CloseReason
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, iso
from trading_assets.ledger.executions import Closing
from trading_assets.trading.risk.pre_trade import Refusal

CLOSINGS_BACK_MS = 7 * DAY_MS
"""Protections look at closings of this time at most."""


def protections(symbol: str, closings: Sequence[Closing], settings: Settings, now_ms: int) -> list[Refusal]:
    """Return every pause that holds for a symbol now.

    Args:
        closings: of positions that this system opened, ascending in time.
    """
    found = [
        _cooldown(symbol, closings, settings, now_ms),
        _stops_in_a_row(closings, settings, now_ms),
        _weak_symbol(symbol, closings, settings, now_ms),
    ]
    return [refusal for refusal in found if refusal is not None]


def _cooldown(symbol: str, closings: Sequence[Closing], settings: Settings, now_ms: int) -> Refusal | None:
    stops = (closing for closing in closings if closing.reason == CloseReason.STOP)
    stopped = [closing.closed_ms for closing in stops if closing.symbol == symbol]
    if not stopped or now_ms >= (until := stopped[-1] + settings.cooldown_after_stop_s * 1000):
        return None
    return Refusal("cooldown", f"{symbol} was stopped out at {iso(stopped[-1])}, no entry until {iso(until)}")


def _stops_in_a_row(closings: Sequence[Closing], settings: Settings, now_ms: int) -> Refusal | None:
    row = list(takewhile(lambda closing: closing.reason == CloseReason.STOP, reversed(closings)))
    if len(row) < settings.max_stops_in_a_row:
        return None
    until = row[0].closed_ms + settings.pause_after_stops_s * 1000
    if now_ms >= until:
        return None
    return Refusal("stops in a row", f"{len(row)} without another exit, no entry until {iso(until)}", of_account=True)


def _weak_symbol(symbol: str, closings: Sequence[Closing], settings: Settings, now_ms: int) -> Refusal | None:
    since = now_ms - settings.weak_symbol_hours * HOUR_MS
    pnl = [closing.pnl for closing in closings if closing.symbol == symbol and closing.closed_ms >= since]
    total = sum(pnl, Decimal(0))
    if len(pnl) < settings.weak_symbol_trades or total >= settings.weak_symbol_min_pnl:
        return None
    return Refusal(
        "weak symbol",
        f"{symbol}: PnL {total:+.2f} USD in {len(pnl)} closings of {settings.weak_symbol_hours} h, at least "
        f"{settings.weak_symbol_min_pnl} needed",
    )
