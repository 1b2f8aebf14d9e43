"""Exits of a paper trial's signals, held against the candles of the exchange in the role of Bybit: each position leaves
when and for what its plan says over these candles, levels that were touched have ended it, parts were sold once.

What a plan says is walked through anew here, apart from the code that follows plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from trading_assets.chaos.planned_exits import PLANS, ExitKind
from trading_assets.core.candles import BoolArray, Candles
from trading_assets.core.exits import AT_CLOSE, ExitPlan, ExitReason
from trading_assets.core.models import Execution, Instrument, Side
from trading_assets.core.ports import ClientOrderIds, Exchange
from trading_assets.core.timeframes import MINUTE_MS, floor_ms
from trading_assets.ledger import exit_decisions
from trading_assets.ledger.database import Database
from trading_assets.ledger.exit_decisions import LEVELS, ExitDecision, Planned
from trading_assets.trading.decide.exits import DeclaredExits
from trading_assets.trading.decide.sizing import to_tick

NARROW: Mapping[ExitKind, ExitPlan] = {
    **PLANS,
    ExitKind.TRAILING: ExitPlan(trail=0.0015, trail_from=0.0003),
    ExitKind.ALL: ExitPlan(
        after_bars=12, trail=0.002, trail_from=0.0005, roi=((5, 0.003),), parts=((0.05, 0.4), (0.2, 0.2))
    ),
}
"""Plans that have something to say within minutes, beside stops that an hour of candles reaches."""

_WORDS = {reason.word for reason in AT_CLOSE}
_VOLUME = 4
"""A limit order is filled by at most such a part of a minute's volume."""


class Said(NamedTuple):
    """What a plan says at a close: to leave, or the levels from then on."""

    close_ms: int
    reason: ExitReason
    stop: float
    target: float


@dataclass(frozen=True)
class Lived:
    """A position of a signal with a plan, as executions tell it.

    Attributes:
        qty: of its entry, in coins; `filled_ms` the time of the last fill of it.
        ends: executions that have closed it, ascending.
        end_ms: of the one that closed the rest; None where it is open.
    """

    planned: Planned
    qty: Decimal
    filled_ms: int
    ends: Sequence[Execution]
    end_ms: int | None

    @property
    def plan(self) -> ExitPlan:
        return DeclaredExits.from_json(self.planned.exit_plan).plan

    @property
    def sign(self) -> int:
        return 1 if self.planned.intent.side is Side.BUY else -1


def course(
    plan: ExitPlan,
    sign: int,
    entry: float,
    stop: float,
    target: float,
    opened_ms: int,
    since_ms: int,
    candles: Candles,
    left: BoolArray,
) -> list[Said]:
    """What a plan says at each close, up to the first that says to leave, whatever the bars touch.

    Args:
        sign: 1 long, -1 short.
        opened_ms: close of the signal's bar, UTC ms; `entry` its price.
        since_ms: closes of bars that begin before say nothing.
        left: whether the strategy's exit condition holds at each close, shape (n,).
    """
    found = []
    for index in range(len(candles)):
        start_ms, close_ms = int(candles.start_ms[index]), int(candles.end_ms[index])
        if start_ms < max(opened_ms, since_ms):
            continue
        close, age = float(candles.close[index]), (close_ms - opened_ms) // candles.timeframe.ms
        reason = ExitReason.OPEN
        if left[index]:
            reason = ExitReason.SIGNAL
        elif plan.after_bars and age >= plan.after_bars:
            reason = ExitReason.TIME
        else:
            asked, lowered = plan.stop_after(entry, sign, close), plan.target_after(entry, sign, age)
            stop = sign * max(sign * level for level in (stop, asked) if level is not None)
            target = sign * min(sign * level for level in (target, lowered) if level is not None)
            if sign * (close - target) >= 0:
                reason = ExitReason.ROI
        found.append(Said(close_ms, reason, stop, target))
        if reason is not ExitReason.OPEN:
            break
    return found


def lives(database: Database, account: str, ids: ClientOrderIds, executions: Sequence[Execution]) -> list[Lived]:
    """The positions of signals with a plan, of which nobody else trades the contracts."""
    entered: dict[str, list[Execution]] = {}
    for one in executions:
        if ids.is_entry(one.order_link_id):
            entered.setdefault(one.order_link_id, []).append(one)
    found = []
    for planned in exit_decisions.planned(database, account, entered):
        fills = entered[planned.intent.order_link_id]
        ends, left = list[Execution](), sum((one.qty for one in fills), Decimal(0))
        for one in sorted(executions, key=lambda one: one.time_ms):
            is_later = one.symbol == planned.intent.symbol and one.time_ms >= fills[0].time_ms and one.closed_size
            if left and is_later:
                ends.append(one)
                left -= one.closed_size
        qty = sum((one.qty for one in fills), Decimal(0))
        found.append(Lived(planned, qty, max(one.time_ms for one in fills), ends, None if left else ends[-1].time_ms))
    return found


@dataclass(frozen=True)
class ExitJudge:
    """Holds positions against the candles.

    Attributes:
        candles: of a contract's minutes in [start, end), UTC ms, of the other exchange.
        left: of a position with an exit condition, and such candles, whether it holds at each close.
        late_ms: how much later than the market something that was due at the first moment may have come at the second
            one: the misfortunes between them count.
        reach: how far a fill may lie outside the candle of its minute, as a share of its price.
    """

    exchange: Exchange
    database: Database
    account: str
    instruments: Mapping[str, Instrument]
    candles: Callable[[str, int, int], Candles]
    left: Callable[[Planned, Candles], BoolArray]
    late_ms: Callable[[int, int], int]
    reach: Decimal

    def judge(self, executions: Sequence[Execution]) -> tuple[dict[str, int], list[str]]:
        """How many positions of plans have ended by what, and what is wrong."""
        ends: dict[str, int] = {}
        wrong = list[str]()
        found = lives(self.database, self.account, self.exchange.order_ids, executions)
        with self.database.read() as connection:
            decided = exit_decisions.of_intents(connection, [one.planned.intent.order_link_id for one in found])
        for one in found:
            decisions = decided.get(one.planned.intent.order_link_id, [])
            if one.end_ms is not None:
                word = self._ended_by(one, decisions)
                ends[word] = ends.get(word, 0) + 1
            wrong += [
                f"{one.planned.intent.symbol} of {one.planned.exit_plan}: {text}" for text in self._of(one, decisions)
            ]
        return ends, wrong

    def _ended_by(self, one: Lived, decisions: Sequence[ExitDecision]) -> str:
        last = one.ends[-1]
        if last.purpose.is_protective:
            return last.purpose.value
        if last.order_link_id in self._part_links(one):
            return "part"
        return next((each.kind for each in decisions if each.is_leaving), "nobody")

    def _part_links(self, one: Lived) -> list[str]:
        encode, signal_id = self.exchange.order_ids.encode, one.planned.intent.signal_id
        return [encode(signal_id, f"p{number}") for number in range(1, len(one.plan.parts) + 1)]

    def _of(self, one: Lived, decisions: Sequence[ExitDecision]) -> Iterator[str]:
        planned, now_ms = one.planned, self.exchange.now_ms()
        symbol, opened_ms = planned.intent.symbol, planned.opened_ms
        until_ms = one.end_ms if one.end_ms is not None else now_ms
        candles = self.candles(symbol, opened_ms, floor_ms(now_ms, MINUTE_MS))
        since_ms = floor_ms(planned.filled_ms, MINUTE_MS) + MINUTE_MS if planned.filled_ms else 0
        left = self.left(planned, candles)
        levels = planned.entry, planned.stop_loss, planned.take_profit
        said = course(one.plan, one.sign, *levels, opened_ms, since_ms, candles, left)
        yield from self._leaving(one, decisions, said, until_ms)
        yield from self._levels(one, decisions, candles, until_ms)
        yield from self._parts(one, candles, until_ms)

    def _leaving(
        self, one: Lived, decisions: Sequence[ExitDecision], said: Sequence[Said], until_ms: int
    ) -> Iterator[str]:
        """It has left at the close that says so, for that reason; and not without one."""
        due = said[-1] if said and said[-1].reason is not ExitReason.OPEN else None
        for each in decisions:
            if each.kind in _WORDS and (
                due is None or (each.kind, each.bar_close_ms) != (due.reason.word, due.close_ms)
            ):
                yield f"it left by {each.kind} at the close of {each.bar_close_ms}, the candles say {due}"
        if due is not None:
            due_ms = max(due.close_ms, one.filled_ms)
            if until_ms > due_ms + self.late_ms(due_ms, until_ms):
                yield f"it was to leave by {due.reason.word} at {due_ms}, and was open until {until_ms}"
        if one.end_ms is not None and self._ended_by(one, decisions) == "nobody":
            yield f"it was closed at {one.end_ms} by an order that nothing tells of: {one.ends[-1]}"
        if (closed := sum((each.closed_size for each in one.ends), Decimal(0))) > one.qty:
            yield f"{closed} were closed of {one.qty}"

    def _levels(self, one: Lived, decisions: Sequence[ExitDecision], candles: Candles, until_ms: int) -> Iterator[str]:
        """What touched a level ended it in that minute; and what ended at a level was there."""
        planned, step = one.planned, MINUTE_MS
        moves = [each for each in decisions if each.kind == LEVELS]
        stands = [(one.filled_ms, Decimal(str(planned.stop_loss)), Decimal(str(planned.take_profit)))]
        stands += [(each.time_ms, each.stop_loss, each.take_profit) for each in moves]
        for from_ms, stop, target in stands:  # levels only come nearer: an earlier one counts to the end
            late_ms = self.late_ms(from_ms, until_ms) if from_ms != one.filled_ms else 0
            first = floor_ms(from_ms + late_ms, step) + step
            whole = _whole(candles, first, until_ms - self.late_ms(first, until_ms))
            touched = (whole.low <= float(stop)) | (whole.high >= float(target))
            if one.sign < 0:
                touched = (whole.high >= float(stop)) | (whole.low <= float(target))
            if touched.any():
                at = int(whole.start_ms[touched.argmax()])
                yield f"the minute of {at} touched {stop} or {target}, and it was open until {until_ms}"
        if one.end_ms is None or not one.ends[-1].purpose.is_protective:
            return
        begin = floor_ms(one.end_ms, step) - self.late_ms(one.end_ms, one.end_ms)
        near = self.candles(planned.intent.symbol, begin, floor_ms(one.end_ms, step) + step)
        if not len(near):
            return
        reach = float(self.reach)
        low, high = near.low.min() * (1 - reach), near.high.max() * (1 + reach)
        told = one.ends[-1].purpose.value
        prices = [float(stand[1 if told == "stop" else 2]) for stand in stands]
        if not any(low <= price <= high for price in prices):
            yield f"a {told} closed it at {one.end_ms}, none of {prices} was between {low} and {high} then"

    def _parts(self, one: Lived, candles: Candles, until_ms: int) -> Iterator[str]:
        """Each part is filled once, at its price, by the minute that goes beyond it."""
        planned, rules = one.planned, self.instruments[one.planned.intent.symbol]
        entry, stop = Decimal(str(planned.entry)), Decimal(str(planned.stop_loss))
        for link, (away, share) in zip(self._part_links(one), one.plan.parts, strict=True):
            steps = one.qty * Decimal(str(share)) / rules.qty_step
            qty = steps.to_integral_value(ROUND_FLOOR) * rules.qty_step
            price = to_tick(entry + (entry - stop) * Decimal(str(away)), rules.tick_size)
            filled = sum((each.qty for each in one.ends if each.order_link_id == link), Decimal(0))
            if filled > qty:
                yield f"a part has sold {filled}, it is {qty}"
            if qty < rules.min_qty or filled == qty:
                continue
            first = floor_ms(one.filled_ms + self.late_ms(one.filled_ms, until_ms), MINUTE_MS) + MINUTE_MS
            whole = _whole(candles, first, until_ms - self.late_ms(first, until_ms))
            beyond = (whole.high > float(price)) if one.sign > 0 else (whole.low < float(price))
            beyond &= whole.volume >= _VOLUME * float(qty)
            if beyond.any():
                at = int(whole.start_ms[beyond.argmax()])
                yield f"the minute of {at} went beyond {price}, where a part of {qty} waits: {filled} are filled"


def _whole(candles: Candles, first_ms: int, last_ms: int) -> Candles:
    return candles.select((candles.start_ms >= first_ms) & (candles.end_ms <= last_ms))
