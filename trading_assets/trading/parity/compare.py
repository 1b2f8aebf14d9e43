"""Compares one decision of live with the backtest. Where they differ, it finds the reason in the ledger. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trading_assets.core.exits import AT_CLOSE_WORDS
from trading_assets.core.timeframes import iso
from trading_assets.ledger import signals
from trading_assets.ledger.exit_decisions import PARTS, ExitDecision
from trading_assets.trading.parity.replay import DROPPED, OPEN, STOP, TARGET, Decision, Exit

SETTLE_MS = 5_000
"""An exit belongs to a bar until this time after the bar's end: the venue records it a moment later."""

LATE_MS = 60_000
"""A plan that is asked later after a close was asked late: nothing ran, or the candle was not there."""

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
    DROPPED = "price not reached"
    FILL_BAR = "target in the bar of the fill"
    LATE = "exit plan asked late"
    PART = "part of the quantity"
    WITHIN = "way within the candle"
    IDLE = "no order waited"
    MOVED = "levels were moved"
    # Not explained.
    MISSING = "signal missing"
    UNEXPECTED = "signal not in the backtest"
    DIFFERENT = "signal differs"
    UNSETTLED = "signal not settled"
    NO_ORDER = "order missing"
    ENTRY = "entry price"
    EXIT = "exit differs"
    EXIT_PRICE = "exit price"
    FILL = "fill not in the backtest"
    NOT_FILLED = "order not filled"

    @property
    def explained(self) -> bool:
        return self not in _UNEXPLAINED


_UNEXPLAINED = frozenset(
    {
        *(Outcome.MISSING, Outcome.UNEXPECTED, Outcome.DIFFERENT, Outcome.UNSETTLED),
        *(Outcome.NO_ORDER, Outcome.ENTRY, Outcome.EXIT, Outcome.EXIT_PRICE),
        *(Outcome.FILL, Outcome.NOT_FILLED),
    }
)

_HALTED = re.compile(r"(^|; )(state|daily loss|drawdown|equity|reconciliation|stops in a row): ")
"""Gates that stop the whole account."""

_ITS_TIME = "its time was over"
"""`trading.saga.resting` says so of an entry that waited in vain."""

_SKIPS = {
    "its order or position is open": Outcome.POSITION,
    "a position was closed on this bar": Outcome.POSITION,
    "an entry was dropped on this bar": Outcome.POSITION,
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
        decided: what the exit plan of its position said, as the ledger has it, ascending.
        parts: how many parts of it left at their own targets.
    """

    ordered: bool
    entry_price: float | None
    exit_reason: str
    exit_price: float | None
    exit_ms: int | None
    decided: Sequence[ExitDecision] = ()
    parts: int = 0


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


def wait_agrees(row: Mapping[str, object], expected: Exit, end_ms: int) -> Verdict | None:
    """What is to be said of an entry that waited in vain, held against the backtest's; None where the ledger's own
    reason is the answer, as for one that a halt or a person cancelled.

    Args:
        end_ms: of the day: what happens later is not seen.
    """
    reason, until_ms = str(row["reason"] or ""), int(_number(row["limit_until_ms"]))
    if expected.reason == DROPPED:
        return Verdict(Outcome.DROPPED, reason)
    if _ITS_TIME not in reason:
        return None
    if until_ms > end_ms:
        return Verdict(Outcome.DROPPED, f"it waited until {iso(until_ms)}, beyond the day")
    return Verdict(Outcome.ENTRY, f"{reason}; expected at {expected.fill_price:g}")


def entry_agrees(price: float, live: LiveTrade, tolerance_bps: float, *, long: bool) -> Verdict | None:
    """Whether live's fill is near the backtest's, as the close of the signal's bar; None where it is."""
    if not live.ordered or live.entry_price is None:
        return Verdict(Outcome.NO_ORDER, "the signal was executed, but the ledger has no filled order of it")
    slippage = behind_bps(live.entry_price, price, long=long)
    if abs(slippage) <= tolerance_bps:
        return None
    return Verdict(Outcome.ENTRY, f"filled at {live.entry_price:g}, {slippage:+.1f} bps behind {price:g}")


def exit_agrees(
    live: LiveTrade, expected: Exit, by_levels: Exit, tolerance_bps: float, *, long: bool, course: Verdict | None = None
) -> Verdict | None:
    """Whether live's position ended as the backtest's; None where it did.

    Args:
        by_levels: what live's own stop and target, as they stood, give on the same candles: they stand a part of a
            tick from the backtest's, which may decide a close case.
        course: how live's exit plan went another way than the candles tell, see `plan_agrees`; None where it did not.
    """
    if not _same_end(live, expected):
        told = f"{_spelled(live.exit_reason, live.exit_price)}, expected {_spelled(expected.reason, expected.price)}"
        if live.exit_reason == TARGET and live.exit_ms is not None and expected.filled_ms is not None:
            # The backtest cannot tell a target after the fill from one before it.
            fill_bar = expected.filled_ms - (by_levels.end_ms - by_levels.start_ms)
            if fill_bar <= live.exit_ms <= expected.filled_ms + SETTLE_MS:
                return Verdict(Outcome.FILL_BAR, told)
        if course is not None:
            return Verdict(course.outcome, f"{told}; {course.reason}")
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
    told = f"{live.exit_price:g}, {difference:+.1f} bps behind {expected.price:g}"
    late_ms = (live.exit_ms or 0) - expected.end_ms
    if expected.reason in AT_CLOSE_WORDS and late_ms > SETTLE_MS:
        return Verdict(Outcome.LATE, f"{told}, {late_ms / 1000:.0f} s after the close")
    if live.parts < expected.parts:
        return Verdict(Outcome.PART, f"{told}; {live.parts} parts left at their targets, expected {expected.parts}")
    return Verdict(Outcome.EXIT_PRICE, told)


def plan_agrees(
    expected: Sequence[ExitDecision], live: LiveTrade, ran_at: Callable[[int], bool] = lambda _close_ms: True
) -> Verdict | None:
    """Whether live's exit plan said what the candles say, in time; None where it did.

    Args:
        expected: what the plan says at each close, up to the first that leaves, with live's own levels.
        ran_at: whether anything was decided between a close and the next one.
    """
    decided = [one for one in live.decided if one.kind != PARTS]
    known = {(one.bar_close_ms, one.kind): one for one in decided}
    said = {(one.bar_close_ms, one.kind): one for one in expected}
    late: ExitDecision | None = None
    for key, one in said.items():
        if live.exit_ms is not None and live.exit_ms <= one.bar_close_ms + SETTLE_MS and key not in known:
            break  # it had ended by then
        found = known.get(key) or next((later for later in decided if later.bar_close_ms > one.bar_close_ms), None)
        if found is None and not ran_at(one.bar_close_ms):
            return Verdict(Outcome.LATE, f"its plan says {one.kind} at {iso(one.bar_close_ms)}, and nothing ran then")
        if found is None:
            return Verdict(Outcome.EXIT, f"its plan says {one.kind} at {iso(one.bar_close_ms)}, live never did")
        if found.time_ms > one.bar_close_ms + LATE_MS:
            late = late or found
        elif (found.bar_close_ms, found.kind) != key or (found.stop_loss, found.take_profit) != (
            one.stop_loss,
            one.take_profit,
        ):
            return Verdict(
                Outcome.EXIT,
                f"its plan says {one.kind} at {iso(one.bar_close_ms)} (stop {one.stop_loss}, target {one.take_profit}),"
                f" live {found.kind} (stop {found.stop_loss}, target {found.take_profit})",
            )
    for key, one in known.items():
        if key not in said and one.kind not in (STOP, TARGET):
            return Verdict(Outcome.EXIT, f"live said {one.kind} at {iso(one.bar_close_ms)}, its plan does not")
    if late is None:
        return None
    seconds = (late.time_ms - late.bar_close_ms) / 1000
    return Verdict(Outcome.LATE, f"{late.kind} of {iso(late.bar_close_ms)} was decided {seconds:.0f} s after the close")


def behind_bps(live: float, expected: float, *, long: bool) -> float:
    """How much worse a buy (of a long entry; else a sale) was, in basis points of the expected price."""
    return (live / expected - 1) * 10_000 * (1 if long else -1)


def _same_end(live: LiveTrade, expected: Exit) -> bool:
    if live.exit_ms is None or expected.reason == OPEN:
        return live.exit_ms is None and expected.reason == OPEN
    if expected.reason in AT_CLOSE_WORDS:  # decided at the close, done after it
        left = [one for one in live.decided if one.kind == expected.reason]
        return live.exit_reason == expected.reason and [one.bar_close_ms for one in left] == [expected.end_ms]
    return live.exit_reason == expected.reason and _within(live.exit_ms, expected)


def _within(time_ms: int, bar: Exit) -> bool:
    return bar.start_ms <= time_ms <= bar.end_ms + SETTLE_MS


def _spelled(reason: str, price: float | None) -> str:
    return reason if price is None or reason == OPEN else f"{reason} at {price:g}"


def _number(value: object) -> float:
    return float(str(value))
