"""A DCA plan over candles. Pure. The orders are those of `planning`; here is when and at what price they are filled.

Within a bar the worst order counts: funding, then what is due, then the way against the position with every safety
order before the stop, and the target only in a bar in which nothing was opened. See docs/dca.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import Instrument, Side
from trading_assets.core.timeframes import iso
from trading_assets.ledger import dca
from trading_assets.trading.dca.books import Books, Whose, plan_books
from trading_assets.trading.dca.planning import Wish, safety_orders, scheduled
from trading_assets.trading.dca.plans import AfterTarget, Plan
from trading_assets.trading.dca.schedule import DcaError
from trading_assets.trading.grid.books import Fill
from trading_assets.trading.grid.levels import ZERO, on_step
from trading_assets.trading.grid.planning import Market

_EIGHT = Decimal("1e-8")


@dataclass(frozen=True)
class Assumptions:
    """What fills cost.

    Attributes:
        taker, maker: fees, fractions. Safety orders are maker, all else takes.
        slippage: of whatever takes, a fraction of the price.
    """

    taker: Decimal
    maker: Decimal
    slippage: Decimal


@dataclass(frozen=True)
class Event:
    """A fill: what for (`buy`, `safety`, `target`, `stop`), at what price, and the levels from then on."""

    what: str
    time_ms: int
    price: Decimal
    qty: Decimal
    fee: Decimal
    average: Decimal | None
    stop: Decimal | None
    target: Decimal | None


@dataclass
class DcaBacktest:
    """What a plan has come to.

    Attributes:
        events: its fills, ascending.
        times: each scheduled time with its outcome and reason, ascending.
        funding: above 0 was paid, USD.
        equity: profit so far, closed and open, at the close of each candle, USD.
        most_deployed: the highest value at entry that it held, USD.
        end: why it ended before the candles did; empty where it did not.
    """

    plan: Plan
    events: list[Event] = field(default_factory=list)
    times: list[tuple[int, str, str]] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    funding: Decimal = ZERO
    equity: list[float] = field(default_factory=list)
    mark: Decimal = ZERO
    most_deployed: Decimal = ZERO
    end: str = ""

    @property
    def total(self) -> Decimal:
        """Closed and open, less fees and funding, USD."""
        return self.books.profit + self.books.unrealised(self.plan.side, self.mark) - self.funding

    @property
    def max_drawdown(self) -> float:
        """The deepest fall of `equity` from its highest value before, USD, at most 0."""
        peak, worst = 0.0, 0.0
        for value in self.equity:
            peak = max(peak, value)
            worst = min(worst, value - peak)
        return worst

    def count(self, outcome: str) -> int:
        return sum(one == outcome for _, one, _ in self.times)

    def as_row(self) -> dict[str, object]:
        """The figures in plain values."""
        average = self.books.average
        return {
            "symbol": self.plan.symbol,
            "side": self.plan.side.value,
            "schedule": self.plan.schedule,
            "filled": self.count(dca.FILLED),
            "skipped": self.count(dca.SKIPPED),
            "safety_fills": sum(one.what == dca.SAFETY for one in self.events),
            "rounds": self.books.rounds,
            "targets": sum(one.what == dca.TARGET for one in self.events),
            "held": float(self.books.held),
            "average_entry": None if average is None else float(average),
            "most_deployed": float(self.most_deployed),
            "closed_pnl": float(self.books.profit),
            "open_pnl": float(self.books.unrealised(self.plan.side, self.mark)),
            "fees": float(self.books.fees_paid),
            "funding": float(self.funding),
            "total": float(self.total),
            "total_pct": float(self.total / self.plan.max_deployed * 100),
            "max_drawdown": self.max_drawdown,
            "end": self.end,
        }


def simulate(plan: Plan, candles: Candles, funding: Funding, instrument: Instrument, costs: Assumptions) -> DcaBacktest:
    """Run a plan over the candles, from its first time to its end, its stop, or the last candle.

    Args:
        candles: of one symbol, ascending; a scheduled time without a candle is skipped.
        funding: payments of the symbol.

    Raises:
        DcaError: there is no candle.
    """
    if not len(candles):
        raise DcaError(f"there are no candles of {plan.symbol} for a backtest")
    return _Run(plan, candles, funding, instrument, costs).run()


class _Run:
    """One plan on its way through the candles."""

    def __init__(
        self, plan: Plan, candles: Candles, funding: Funding, instrument: Instrument, costs: Assumptions
    ) -> None:
        self._plan, self._candles, self._rules, self._costs = plan, candles, instrument, costs
        self._rates = list(zip(funding.time_ms.tolist(), funding.rate.tolist(), strict=True))
        self._found = DcaBacktest(plan)
        self._fills: list[tuple[Whose, Fill]] = []
        self._books = Books()
        self._waiting: list[Wish] = []
        self._filled_steps: set[int | None] = set()
        first = int(candles.start_ms[0])
        last = int(candles.start_ms[-1]) + candles.timeframe.ms
        until = last if plan.end_ms is None else min(last, plan.end_ms)
        self._due = plan.times.between(max(first, plan.anchor_ms) - 1, until - 1, 10_000_000)[::-1]

    def run(self) -> DcaBacktest:
        candles, found = self._candles, self._found
        step = candles.timeframe.ms
        rows = zip(
            candles.start_ms.tolist(),
            candles.open.tolist(),
            candles.high.tolist(),
            candles.low.tolist(),
            candles.close.tolist(),
            strict=True,
        )
        held_sign = self._plan.sign
        for start_ms, opened, high, low, closed in rows:
            if not found.end:
                self._bar(start_ms, start_ms + step, opened, high, low)
            found.mark = _decimal(closed)
            books = self._books
            open_now = held_sign * (float(books.held) * closed - float(books.value)) - float(books.fees)
            found.equity.append(float(books.profit - found.funding) + open_now)
        found.books = self._books
        return found

    def _bar(self, start_ms: int, end_ms: int, opened: float, high: float, low: float) -> None:
        self._pay_funding(start_ms, end_ms, opened)
        worst, best = (low, high) if self._plan.side is Side.BUY else (high, low)
        before = len(self._fills)
        while self._due and self._due[-1] < end_ms:
            due_ms = self._due.pop()
            if due_ms < start_ms:
                self._outcome(due_ms, dca.SKIPPED, "there is no candle of it")
                continue
            # At the bar's open; inside of it at the price of the bar that is the worst to enter at.
            self._enter(due_ms, _decimal(opened if due_ms == start_ms else best))
        if self._books.held:
            self._go_against(start_ms, _decimal(opened), _decimal(worst))
        if self._books.held and len(self._fills) == before:
            self._reach_target(start_ms, _decimal(best))

    def _pay_funding(self, start_ms: int, end_ms: int, opened: float) -> None:
        while self._rates and self._rates[0][0] < end_ms:
            time_ms, rate = self._rates.pop(0)
            if time_ms >= start_ms and self._books.held:
                paid = self._plan.sign * self._books.held * _decimal(opened) * _decimal(rate)
                self._found.funding += paid.quantize(_EIGHT)

    def _enter(self, due_ms: int, price: Decimal) -> None:
        plan, tick = self._plan, self._rules.tick_size
        paid = self._slipped(price, opens=True)
        market = Market(paid, paid, price, tick, self._rules.min_qty, self._rules.min_notional)
        wish = scheduled(plan, self._books, self._deployed(), market, self._rules, due_ms)
        if isinstance(wish, str):
            self._outcome(due_ms, dca.SKIPPED, wish)
            return
        self._outcome(due_ms, dca.FILLED, "")
        self._fill(dca.BUY, due_ms, plan.side, paid, wish.qty, self._costs.taker)
        self._lay_safety(price)

    def _lay_safety(self, price: Decimal) -> None:
        market = Market(price, price, price, self._rules.tick_size, self._rules.min_qty, self._rules.min_notional)
        taken = self._filled_steps | {one.step for one in self._waiting}
        self._waiting += safety_orders(self._plan, self._books, self._deployed(), market, self._rules, taken)
        self._waiting.sort(key=lambda one: one.step or 0)

    def _go_against(self, time_ms: int, opened: Decimal, worst: Decimal) -> None:
        """The way to the bar's worst price: safety orders are filled beyond their prices, the stop ends it."""
        plan = self._plan
        while True:
            stop = plan.stop(self._books.average or opened, self._rules.tick_size)
            wish = self._waiting[0] if self._waiting else None
            price = wish.price if wish is not None and wish.price is not None else None
            if wish is not None and price is not None and plan.sign * (price - stop) > 0 and self._passes(worst, price):
                self._waiting.pop(0)
                self._filled_steps.add(wish.step)
                self._fill(dca.SAFETY, time_ms, plan.side, price, wish.qty, self._costs.maker)
                continue
            if plan.is_beyond(worst, stop):
                at = opened if plan.is_beyond(opened, stop) else stop
                self._close("stop", time_ms, at)
                self._found.end = "the position was closed by its stop"
            return

    def _passes(self, worst: Decimal, price: Decimal) -> bool:
        return self._plan.sign * (price - worst) > 0

    def _reach_target(self, time_ms: int, best: Decimal) -> None:
        average = self._books.average
        target = None if average is None else self._plan.target(average, self._rules.tick_size)
        if target is None or self._plan.sign * (best - target) <= 0:
            return
        self._close(dca.TARGET, time_ms, target)
        if self._plan.after_target is AfterTarget.END:
            self._found.end = "its target was reached"

    def _close(self, what: str, time_ms: int, price: Decimal) -> None:
        side, qty = self._plan.side.opposite, self._books.held
        self._fill(what, time_ms, side, self._slipped(price, opens=False), qty, self._costs.taker)
        self._waiting.clear()
        self._filled_steps.clear()

    def _fill(self, what: str, time_ms: int, side: Side, price: Decimal, qty: Decimal, fee_rate: Decimal) -> None:
        value = price * qty
        fee = (value * fee_rate).quantize(_EIGHT)
        whose = {dca.TARGET: Whose.TARGET, "stop": Whose.VENUE}.get(what, Whose.OWN)
        self._fills.append((whose, Fill(side, qty, value, fee, time_ms)))
        self._books = self._after(
            plan_books(self._plan.side, self._fills), fee, value if side is self._plan.side else ZERO
        )
        if not self._books.held:
            self._fills.clear()
        self._found.most_deployed = max(self._found.most_deployed, self._books.value)
        average, tick = self._books.average, self._rules.tick_size
        stop = None if average is None else self._plan.stop(average, tick)
        target = None if average is None else self._plan.target(average, tick)
        self._found.events.append(Event(what, time_ms, price, qty, fee, average, stop, target))

    def _after(self, of_round: Books, fee: Decimal, opened: Decimal) -> Books:
        """The books after a fill, from those of its round: fills of rounds that have ended are not followed again."""
        before = self._books
        return replace(
            of_round,
            profit=before.profit + of_round.profit,
            rounds=before.rounds + of_round.rounds,
            fees_paid=before.fees_paid + fee,
            opened=before.opened + opened,
        )

    def _deployed(self) -> Decimal:
        return self._books.value + sum((one.worth for one in self._waiting), ZERO)

    def _slipped(self, price: Decimal, *, opens: bool) -> Decimal:
        """A price that takes, on the tick, to the worse."""
        is_buying = (self._plan.side is Side.BUY) == opens
        away = 1 + (self._costs.slippage if is_buying else -self._costs.slippage)
        return on_step(price * away, self._rules.tick_size, ROUND_CEILING if is_buying else ROUND_FLOOR)

    def _outcome(self, due_ms: int, outcome: str, reason: str) -> None:
        self._found.times.append((due_ms, outcome, reason))


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def report_lines(found: DcaBacktest) -> list[str]:
    """The scheduled times that were skipped, by reason, for a person."""
    reasons: dict[str, list[int]] = {}
    for due_ms, outcome, reason in found.times:
        if outcome != dca.FILLED:
            reasons.setdefault(reason.split(":")[0], []).append(due_ms)
    return [f"{len(times)} times skipped, first {iso(times[0])}: {reason}" for reason, times in reasons.items()]
