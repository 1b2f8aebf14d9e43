"""Portfolio simulation: one account is offered trades in the order of time and takes those that its limits allow.

The limits are the live functions, `trading.risk.limits` and `trading.risk.protections`, called with what the account
would have known at that moment. What candles do not show is not checked: spread, the price when the order arrives, the
24 h turnover of that minute, the quantity's step.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, reduce
from operator import add

import numpy as np

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.models import Position, Side, Wallet
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, floor_ms
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.risk import Cause
from trading_assets.reporting.account_walk import HALTED, UNFILLED, Moment, Offered, Walk, walk
from trading_assets.reporting.forward_test import ForwardTestResult
from trading_assets.reporting.trade_table import TradeTable
from trading_assets.reporting.trades import ForwardTrade
from trading_assets.strategies.declared import as_declared
from trading_assets.trading.decide.sizing import planned_notional
from trading_assets.trading.risk.limits import Reached, limits, losses_reached
from trading_assets.trading.risk.pre_trade import Account, Candidate, Refusal
from trading_assets.trading.risk.protections import CLOSINGS_BACK_MS, protections


@dataclass(frozen=True)
class Halt:
    """A limit of loss that stopped entries until the next 00:00 UTC."""

    time_ms: int
    cause: str
    found: str


@dataclass(frozen=True)
class PortfolioResult:
    """What the simulated account did.

    Attributes:
        taken: in order of entry.
        refused: trades not taken, by the first limit that refused them.
        times_ms: whole hours from the start to the end, shape (n,).
        equity: USD at these times, open trades marked, shape (n,).
        exposure: value of all positions, USD, shape (n,).
    """

    taken: Sequence[ForwardTrade]
    refused: Counter[str]
    halts: Sequence[Halt]
    times_ms: IntArray
    equity: FloatArray
    exposure: FloatArray


def simulate_portfolio(
    trades: Sequence[ForwardTrade], settings: Settings, capital: float, start_ms: int, end_ms: int
) -> PortfolioResult:
    """Simulate an account of `capital` USD that is offered the trades, from whole hour to whole hour.

    Its first mark is before the first trade, because a trade may enter at the start.

    Args:
        trades: in order of entry, within [start_ms, end_ms].
    """
    times = _hours(start_ms, end_ms)
    if not _is_fixed(settings, {one.selection.strategy for one in trades}):
        return _one_by_one(trades, settings, capital, times)
    offered = Offered.from_trades(trades)
    found = walk(offered, settings, capital, times, _Live(offered, settings))
    return _result([trades[place] for place in found.taken.tolist()], found, times)


def simulate_account(
    tested: ForwardTestResult, table: TradeTable, settings: Settings, capital: float, start_ms: int, end_ms: int
) -> PortfolioResult:
    """`simulate_portfolio` with the trades of a table of a forward test, in order of entry."""
    times = _hours(start_ms, end_ms)
    if not _is_fixed(settings, set(table.selections.texts["strategy"])):
        return _one_by_one(tested.detailed(table).trades(), settings, capital, times)
    offered = Offered.from_table(table)
    found = walk(offered, settings, capital, times, _Live(offered, settings))
    return _result(TakenTrades(tested, table.take(found.taken)), found, times)


class TakenTrades(Sequence[ForwardTrade]):
    """Trades of a table, found when they are asked for: of most accounts nobody asks."""

    def __init__(self, tested: ForwardTestResult, table: TradeTable) -> None:
        self._tested, self._table = tested, table

    @cached_property
    def _trades(self) -> list[ForwardTrade]:
        return self._tested.detailed(self._table).trades()

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        return self._trades[at]


def _hours(start_ms: int, end_ms: int) -> IntArray:
    return np.arange(start_ms, end_ms + 1, HOUR_MS, dtype=np.int64)


def _is_fixed(settings: Settings, strategies: Iterable[str]) -> bool:
    """Whether the size of a position depends on nothing that the account did."""
    return all(as_declared(settings, strategy).size_by == "fixed" for strategy in strategies)


def _result(taken: Sequence[ForwardTrade], found: Walk, times: IntArray) -> PortfolioResult:
    halts = [Halt(*halt) for halt in found.halts]
    return PortfolioResult(taken, found.refused, halts, times, found.equity, found.exposure)


def _one_by_one(trades: Sequence[ForwardTrade], settings: Settings, capital: float, times: IntArray) -> PortfolioResult:
    """The same without compiled code, for accounts that size their positions: each decision is a live function's."""
    account = _SimulatedAccount(settings, capital)
    equity, exposure = np.empty(len(times)), np.empty(len(times))
    equity[0], exposure[0] = account.mark(int(times[0]))
    waiting = iter(trades)
    coming = next(waiting, None)
    for index, hour in enumerate(times.tolist()[1:], start=1):
        while coming is not None and coming.entry_ms <= hour:
            account.offer(coming)
            coming = next(waiting, None)
        equity[index], exposure[index] = account.mark(hour)
    return PortfolioResult(account.taken, account.refused, account.halts, times, equity, exposure)


@dataclass(frozen=True)
class _Live:
    """The live functions at a moment of a walk, see `account_walk.Live`."""

    offered: Offered
    settings: Settings

    def refusal(self, place: int, moment: Moment) -> str | None:
        """See `account_walk.Live`."""
        trade = self.offered.trade(place)
        found = _refused(trade, self._account(moment), self.settings, moment.time_ms, moment.equity, moment.peak)
        return found[0].gate if found else None

    def losses(self, moment: Moment) -> tuple[str, str] | None:
        """See `account_walk.Live`."""
        account = self._account(moment)
        reached = losses_reached(
            _decimal(moment.equity),
            account.realised_today(moment.time_ms),
            _decimal(moment.peak),
            settings=self.settings,
        )
        worst = _worst(reached)
        return None if worst is None else (worst.cause.value, worst.found)

    def _account(self, moment: Moment) -> _SimulatedAccount:
        open_ = [self.offered.trade(place) for place in moment.open]
        account = _SimulatedAccount(self.settings, 0.0, open={trade.selection.symbol: trade for trade in open_})
        account.closings = [_closing(self.offered.trade(place)) for place in moment.closed]
        return account


def _worst(reached: Sequence[Reached]) -> Reached | None:
    """Of two limits the drawdown is the one that a person must accept."""
    return max(reached, key=lambda one: one.cause is Cause.DRAWDOWN, default=None)


@dataclass
class _SimulatedAccount:
    """The account at one moment; it knows nothing of a trade's end before that end has come."""

    settings: Settings
    capital: float
    taken: list[ForwardTrade] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    halts: list[Halt] = field(default_factory=list)
    open: dict[str, ForwardTrade] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ends: list[tuple[int, str]] = []
        self.closings: list[Closing] = []
        self._cash = self._peak = self.capital
        self._last_exit: dict[str, int] = {}
        self._last_signal: dict[tuple[str, str], int] = {}
        self._halted_until = 0
        self._closed = 0
        self._checked_at = (-1, 0, 0)

    def offer(self, trade: ForwardTrade) -> None:
        """Take a trade, or refuse it."""
        now = trade.entry_ms
        self._close_until(now)
        self._check_losses(now)
        trade = self._sized(trade, now)
        refusal = self._refusal(trade, now)
        if refusal is not None:
            self.refused[refusal] += 1
            return
        if trade.is_filled:
            self.taken.append(trade)
        else:  # known only to us: the account keeps its coin until then
            self.refused[UNFILLED] += 1
        self.open[trade.selection.symbol] = trade
        if trade.closed:
            heapq.heappush(self._ends, (trade.exit_ms, trade.selection.symbol))

    def _sized(self, trade: ForwardTrade, now: int) -> ForwardTrade:
        """The trade at the size that live would give it now. It was simulated at the fixed one."""
        settings = as_declared(self.settings, trade.selection.strategy)
        if settings.size_by == "fixed":
            return trade
        fixed = settings.target_notional
        planned = planned_notional(
            settings,
            equity=_decimal(self._equity(now)),
            confidence=trade.confidence,
            # Of an entry that waited this is the distance from its price.
            stop_fraction=_decimal(trade.risk) / fixed if trade.risk else _decimal(trade.stop_fraction),
        )
        times = float(planned.notional / fixed)
        money = ("size", "entry_fee", "fees", "slippage", "funding", "pnl", "risk")
        return replace(trade, **{name: getattr(trade, name) * times for name in money})

    def mark(self, now: int) -> tuple[float, float]:
        """Equity and value of all positions at a whole hour, USD."""
        self._close_until(now)
        self._check_losses(now)
        equity = self._equity(now)
        self._peak = max(self._peak, equity)
        held = (trade for trade in self.open.values() if trade.holds_at(now))
        return equity, _total(trade.size * trade.mark_at(now) for trade in held)

    def _close_until(self, now: int) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, symbol = heapq.heappop(self._ends)
            trade = self.open.pop(symbol)
            self._last_exit[symbol] = trade.exit_ms
            if not trade.is_filled:
                continue
            self._cash += trade.pnl
            self._closed += 1
            self.closings.append(_closing(trade))

    def _equity(self, now: int) -> float:
        """A trade that the end of the range finds open is worth there what the engine says, its funding included."""
        return self._cash + _total(
            trade.pnl if now >= trade.exit_ms else trade.open_gain(now) for trade in self.open.values()
        )

    def _check_losses(self, now: int) -> None:
        """Halt at a limit of loss. Live, a person resumes after a drawdown; here 00:00 UTC does, with a new peak."""
        # Marks are those of whole hours: in between, only what is taken or closed changes the equity.
        moment = (now // HOUR_MS, len(self.taken), self._closed)
        if now < self._halted_until or moment == self._checked_at:
            return
        self._checked_at = moment
        if self._halted_until:
            self._halted_until = 0
            if self.halts[-1].cause == Cause.DRAWDOWN.value:
                self._peak = self._equity(now)
        equity, peak = _decimal(self._equity(now)), _decimal(self._peak)
        worst = _worst(losses_reached(equity, self.realised_today(now), peak, settings=self.settings))
        if worst is not None:
            self.halts.append(Halt(now, worst.cause.value, worst.found))
            self._halted_until = floor_ms(now, DAY_MS) + DAY_MS
            self._cancel_waiting(now)

    def _cancel_waiting(self, now: int) -> None:
        """A halt cancels the entries that wait."""
        waiting = {symbol for symbol, trade in self.open.items() if not trade.holds_at(now)}
        for symbol in waiting:
            trade = self.open.pop(symbol)
            if trade.is_filled:
                self.taken.remove(trade)
                self.refused[HALTED] += 1
        if waiting:
            self._ends = [one for one in self._ends if one[1] not in waiting]
            heapq.heapify(self._ends)

    def realised_today(self, now: int) -> Decimal:
        since = floor_ms(now, DAY_MS)
        total = Decimal(0)
        for closing in reversed(self.closings):
            if closing.closed_ms < since:
                break
            total += closing.pnl
        return total

    def _refusal(self, trade: ForwardTrade, now: int) -> str | None:
        """What stands against a trade first, in the order in which live finds out."""
        selection, key = trade.selection, (trade.selection.symbol, trade.selection.strategy)
        if selection.symbol in self.open:
            return "its position is open"
        if now - Timeframe(selection.timeframe).ms < self._last_exit.get(selection.symbol, 0):
            return "a position was closed on this bar"
        if key in self._last_signal and now - self._last_signal[key] < self.settings.min_signal_interval_s * 1000:
            return "too soon after the strategy's last signal"
        self._last_signal[key] = now
        if now < self._halted_until:
            return HALTED
        if len(self.open) >= self.settings.max_positions:
            return "positions"  # the first of the limits that can be met here, without asking for all of them
        found = _refused(trade, self, self.settings, now, self._equity(now), self._peak)
        return found[0].gate if found else None

    def recent_closings(self, now: int) -> Sequence[Closing]:
        while self.closings and self.closings[0].closed_ms < now - CLOSINGS_BACK_MS:
            self.closings.pop(0)
        return self.closings

    def position(self, trade: ForwardTrade, now: int) -> Position:
        entry, mark, zero = _decimal(trade.entry_price), _decimal(trade.mark_at(now)), Decimal(0)
        return Position(
            symbol=trade.selection.symbol,
            side=Side.BUY if trade.direction > 0 else Side.SELL,
            size=_decimal(trade.size),
            entry_price=entry,
            mark_price=mark,
            leverage=self.settings.leverage,
            unrealised_pnl=zero,
            realised_pnl=zero,
            liquidation_price=None,
            stop_loss=None,
            take_profit=None,
            position_idx=0,
            opened_ms=trade.entry_ms,
            updated_ms=now,
        )


def _refused(
    trade: ForwardTrade, account: _SimulatedAccount, settings: Settings, now: int, equity: float, peak: float
) -> list[Refusal]:
    """What the live functions have against a trade, with what the account knows now."""
    selection = trade.selection
    candidate = Candidate(
        selection.symbol,
        selection.strategy,
        trade.confidence,
        _decimal(trade.entry_price),
        selection.hour_ms,
        now,
        notional=None
        if as_declared(settings, selection.strategy).size_by == "fixed"
        else _decimal(trade.size * trade.entry_price),
    )
    worth = _decimal(equity)
    known = Account(
        wallet=Wallet(worth, worth, worth, Decimal(0), Decimal(0), Decimal(0)),
        positions=tuple(account.position(one, now) for one in account.open.values()),
        occupied=frozenset(account.open),
        realised_today=account.realised_today(now),
        peak_equity=_decimal(peak),
        reconciled_ms=now,
        active_strategies=frozenset({selection.strategy}),
    )
    found = limits(candidate, known, settings, now)
    return found + protections(selection.symbol, account.recent_closings(now), settings, now)


def _total(values: Iterable[float]) -> float:
    """A sum from left to right, as compiled code adds: `sum` of newer Pythons rounds in another way."""
    return reduce(add, values, 0.0)


def _closing(trade: ForwardTrade) -> Closing:
    return Closing(
        order_id="",
        symbol=trade.selection.symbol,
        position_side="LONG" if trade.direction > 0 else "SHORT",
        reason=trade.reason,
        qty=_decimal(trade.size),
        entry_price=_decimal(trade.entry_price),
        exit_price=_decimal(trade.exit_price),
        pnl=_decimal(trade.pnl),
        fees=_decimal(trade.fees),
        signal_id="",
        closed_ms=trade.exit_ms,
    )


def _decimal(value: float) -> Decimal:
    return Decimal(str(value))
