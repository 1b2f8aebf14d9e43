"""Compares one decision of live with the backtest. Where they differ, it finds the reason in the ledger. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trading_assets.ledger import signals
from trading_assets.trading.parity.replay import OPEN, Decision, Exit

SETTLE_MS = 5_000
"""An exit belongs to a bar until this time after the bar's end: the venue records it a moment later."""

SAME = 1e-9
"""Relative difference of two prices that are the same."""


class Outcome(StrEnum):
    """What became of a decision."""

    AGREES = "agrees"
    # Explained by the ledger.
    GATE = "gate refused"
    EXPIRED = "expired"
    POSITION = "position open"
    HALTED = "risk halted"
    NOT_RUNNING = "not running"
    SELECTION = "another selection"
    REPEATED = "repeated signal"
    NO_DATA = "could not decide"
    FAILED = "order failed"
    ONE_BAR = "stop and target in one bar"
    LEVELS = "levels on the tick"
    # Not explained.
    MISSING = "signal missing"
    UNEXPECTED = "signal not in the backtest"
    DIFFERENT = "signal differs"
    UNSETTLED = "signal not settled"
    NO_ORDER = "order missing"
    ENTRY = "entry price"
    EXIT = "exit differs"
    EXIT_PRICE = "exit price"

    @property
    def explained(self) -> bool:
        return self not in _UNEXPLAINED


_UNEXPLAINED = frozenset(
    {
        *(Outcome.MISSING, Outcome.UNEXPECTED, Outcome.DIFFERENT, Outcome.UNSETTLED),
        *(Outcome.NO_ORDER, Outcome.ENTRY, Outcome.EXIT, Outcome.EXIT_PRICE),
    }
)

_HALTED = re.compile(r"(^|; )(state|daily loss|drawdown|equity|reconciliation|stops in a row): ")
"""Gates that stop the whole account."""

_SKIPS = {
    "its order or position is open": Outcome.POSITION,
    "a position was closed on this bar": Outcome.POSITION,
    "signal exists": Outcome.REPEATED,
    "another signal of the symbol is executing": Outcome.REPEATED,
    "the same signal is waiting": Outcome.REPEATED,
    "too soon after the strategy's last signal": Outcome.REPEATED,
}


@dataclass(frozen=True)
class Verdict:
    """An outcome, and the words or values behind it."""

    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True)
class LiveTrade:
    """What became of live's order. Prices in USDT.

    Attributes:
        ordered: the ledger has its order.
        exit_ms: of the last closing; None while the position is open.
    """

    ordered: bool
    entry_price: float | None
    exit_reason: str
    exit_price: float | None
    exit_ms: int | None


def why_no_signal(reasons: Sequence[str], *, evaluated: bool, elsewhere: bool) -> Verdict:
    """Why live has no signal where the backtest has an entry.

    Args:
        reasons: the coin's outcome in each evaluation of this selection; empty where it was decided.
        evaluated: whether there was any evaluation while the signal could have lived.
        elsewhere: whether those evaluations were of another selection, or left the coin out.
    """
    if not evaluated:
        return Verdict(Outcome.NOT_RUNNING, "the finder did not look before the signal's end")
    if elsewhere:
        return Verdict(Outcome.SELECTION, "the finder followed the selection of another hour")
    told = [reason for reason in reasons if reason]
    if len(told) < len(reasons):
        return Verdict(Outcome.MISSING, "the finder decided, and found no entry")
    return Verdict(_SKIPS.get(told[0], Outcome.NO_DATA), told[0])


def same_signal(row: Mapping[str, object], decision: Decision, tick: float) -> Verdict | None:
    """Whether live's signal is the backtest's entry; None where it is."""
    found = [
        f"{name} {live:g}, expected {expected:g}"
        for name, live, expected, tolerance in (
            ("entry", _number(row["entry_price"]), decision.price, decision.price * SAME),
            ("stop", _number(row["stop_loss"]), decision.stop_loss, tick * 1.01),
            ("target", _number(row["take_profit"]), decision.take_profit, tick * 1.01),
        )
        if abs(live - expected) > tolerance
    ]
    side = "LONG" if decision.long else "SHORT"
    if row["position_type"] != side:
        found.insert(0, f"{row['position_type']}, expected {side}")
    return Verdict(Outcome.DIFFERENT, "; ".join(found)) if found else None


def why_no_position(row: Mapping[str, object]) -> Verdict | None:
    """Why a signal of live, whose life is over, did not become a position; None where it did."""
    status, reason = row["status"], str(row["reason"] or "")
    if status == signals.EXECUTED:
        return None
    if status == signals.EXECUTING:
        return Verdict(Outcome.UNSETTLED, f"it is still {status}")
    if row["order_link_id"]:
        return Verdict(Outcome.FAILED, reason)
    if _HALTED.search(reason):
        return Verdict(Outcome.HALTED, reason)
    if reason.startswith("position:") or "has an open order" in reason:
        return Verdict(Outcome.POSITION, reason)
    if not reason or reason.startswith("expired") or "life time ended" in reason:
        return Verdict(Outcome.EXPIRED, reason or "nothing ran any more before its end")
    return Verdict(Outcome.GATE, reason)


def entry_agrees(price: float, live: LiveTrade, tolerance_bps: float, *, long: bool) -> Verdict | None:
    """Whether live's fill is near the close of the signal's bar; None where it is."""
    if not live.ordered or live.entry_price is None:
        return Verdict(Outcome.NO_ORDER, "the signal was executed, but the ledger has no filled order of it")
    slippage = behind_bps(live.entry_price, price, long=long)
    if abs(slippage) <= tolerance_bps:
        return None
    return Verdict(Outcome.ENTRY, f"filled at {live.entry_price:g}, {slippage:+.1f} bps behind {price:g}")


def exit_agrees(
    live: LiveTrade, expected: Exit, by_levels: Exit, tolerance_bps: float, *, long: bool
) -> Verdict | None:
    """Whether live's position ended as the backtest's; None where it did.

    Args:
        by_levels: what live's own stop and target give on the same candles: they stand a part of a tick from the
            backtest's, which may decide a close case.
    """
    if not _same_end(live, expected):
        told = f"{_spelled(live.exit_reason, live.exit_price)}, expected {_spelled(expected.reason, expected.price)}"
        if expected.both and live.exit_ms is not None and _within(live.exit_ms, expected):
            return Verdict(Outcome.ONE_BAR, told)
        same_bar = by_levels.both and live.exit_ms is not None and _within(live.exit_ms, by_levels)
        if same_bar or _same_end(live, by_levels):
            return Verdict(Outcome.LEVELS, told)
        return Verdict(Outcome.EXIT, told)
    if live.exit_price is None:
        return None
    difference = behind_bps(live.exit_price, expected.price, long=not long)
    if abs(difference) <= tolerance_bps:
        return None
    return Verdict(Outcome.EXIT_PRICE, f"{live.exit_price:g}, {difference:+.1f} bps behind {expected.price:g}")


def behind_bps(live: float, expected: float, *, long: bool) -> float:
    """How much worse a buy (of a long entry; else a sale) was, in basis points of the expected price."""
    return (live / expected - 1) * 10_000 * (1 if long else -1)


def _same_end(live: LiveTrade, expected: Exit) -> bool:
    if live.exit_ms is None or expected.reason == OPEN:
        return live.exit_ms is None and expected.reason == OPEN
    return live.exit_reason == expected.reason and _within(live.exit_ms, expected)


def _within(time_ms: int, bar: Exit) -> bool:
    return bar.start_ms <= time_ms <= bar.end_ms + SETTLE_MS


def _spelled(reason: str, price: float | None) -> str:
    return reason if price is None or reason == OPEN else f"{reason} at {price:g}"


def _number(value: object) -> float:
    return float(str(value))
