"""A day of live against the same day replayed: rows of `live_parity`. Reads the ledger and candles, writes nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import zip_longest
from typing import Any

import pandas as pd

from trading_assets.backtesting.costs import costs_of
from trading_assets.backtesting.engine import Engine, LimitEntry
from trading_assets.core.candles import Candles
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import EntryOrder
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.ledger.evaluations import Evaluation
from trading_assets.ledger.exit_decisions import PARTS
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.decide.entry import signal_id
from trading_assets.trading.decide.exits import DeclaredExits, Position
from trading_assets.trading.parity import compare
from trading_assets.trading.parity.compare import LiveTrade, Outcome, Verdict
from trading_assets.trading.parity.replay import (
    OPEN,
    Decision,
    Exit,
    Leaving,
    bars_between,
    decisions,
    end_by_decisions,
    first_touch,
    plan_decisions,
    replay_exit,
)

Row = Mapping[Hashable, Any]

LoadDecided = Callable[[str, Timeframe, Strategy, int], StrategyData]
"""Symbol, timeframe, strategy and first decided close (UTC ms): what it saw, up to the end of the day."""

LoadHeld = Callable[[str, Timeframe, int], Candles]
"""Symbol, timeframe and close of the entry's bar: candles from that bar to the end of the day."""


@dataclass(frozen=True)
class LiveDay:
    """What live did.

    Attributes:
        selections: rows of `strategy_selections` that were, or could have been, followed during the day: what signals
            were decided on as it was then.
        evaluations: of the finder, ascending, up to a signal's life beyond the day.
        signals: rows of `entry_signals`: decisions of the day, and earlier ones whose position was open in it.
        trades: what became of the executed ones, by signal, as of the end of the day.
        reselected: hours whose selection was written again since, each with the coins of which the one that was
            followed is known all the same.
    """

    selections: pd.DataFrame
    evaluations: Sequence[Evaluation]
    signals: pd.DataFrame
    trades: Mapping[str, LiveTrade]
    reselected: Mapping[int, frozenset[str]] = field(default_factory=dict)
    followed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """of each signal the selection it was decided on, where its snapshot has it"""
    empty_hours: Sequence[int] = ()
    """hours that were selected and chose no coin: from then on nothing is followed"""


@dataclass(frozen=True)
class _Coin:
    """What was selected of a coin, and the hour of the selection."""

    hour_ms: int
    symbol: str
    timeframe: Timeframe
    strategy: str
    parameters: str


def compare_day(
    day_ms: int,
    live: LiveDay,
    *,
    settings: Settings,
    ticks: Mapping[str, Decimal],
    load_decided: LoadDecided,
    load_held: LoadHeld,
    engine: Engine,
) -> pd.DataFrame:
    """Rows of `live_parity` of the day that starts at `day_ms` (UTC ms).

    A strategy that fails, or candles that cannot be read, concern their own decisions alone: live's signals there are
    not in the backtest, and are reported as such.
    """
    day = _Day(day_ms, live, settings, ticks, load_decided, load_held, engine)
    return LIVE_PARITY.conform(pd.DataFrame(day.rows(), columns=LIVE_PARITY.columns))


@dataclass(frozen=True)
class _Day:
    day_ms: int
    live: LiveDay
    settings: Settings
    ticks: Mapping[str, Decimal]
    load_decided: LoadDecided
    load_held: LoadHeld
    engine: Engine
    held: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """of each symbol from when to when the backtest holds the positions that live opened"""

    @property
    def end_ms(self) -> int:
        return self.day_ms + DAY_MS

    def rows(self) -> list[dict[str, object]]:
        found = {str(row["signal_id"]): row for row in self.live.signals.to_dict("records")}
        expected = self._expected()
        rows = []
        for identity, row in found.items():
            coin, decision, _ = expected.get(identity, (_coin_of(row), None, False))
            rows.append(self._judged(identity, coin, decision, row))
        for identity, (coin, decision, nominal) in expected.items():
            if identity in found:
                continue
            verdict = self._why_no_signal(coin, decision.close_ms, nominal=nominal)
            if verdict.outcome is not Outcome.POSITION or not self._holds(coin.symbol, decision.close_ms):
                rows.append(self._row(identity, coin, decision, None, verdict))
        return rows

    def _holds(self, symbol: str, close_ms: int) -> bool:
        """Whether the backtest itself ignores an entry: its position is open, or ends on that very bar."""
        return any(start < close_ms <= end for start, end in self.held[symbol])

    def _expected(self) -> dict[str, tuple[_Coin, Decision, bool]]:
        """Entries of the backtest, by signal: of what was in force by the clock, and of what the finder followed."""
        due: dict[_Coin, dict[int, bool]] = defaultdict(dict)
        coins = [_coin_of(row) for row in self.live.selections.to_dict("records")]
        by_hour: dict[int, list[_Coin]] = defaultdict(list)
        for coin in coins:
            by_hour[coin.hour_ms].append(coin)
        for hour, (start, end) in self._in_force(sorted({*by_hour, *self.live.empty_hours})).items():
            for coin in by_hour.get(hour, ()):
                for close in bars_between(coin.timeframe, start, end):
                    due[coin][close] = True
        for evaluation in self.live.evaluations:
            for coin in by_hour[evaluation.hour_ms]:
                close = evaluation.time_ms - evaluation.time_ms % coin.timeframe.ms
                if coin.symbol in evaluation.outcomes and self.day_ms <= close < self.end_ms:
                    due[coin].setdefault(close, False)
        expected: dict[str, tuple[_Coin, Decision, bool]] = {}
        alike: dict[tuple[str, Timeframe, str, str], list[_Coin]] = defaultdict(list)
        for coin in due:
            alike[coin.symbol, coin.timeframe, coin.strategy, coin.parameters].append(coin)
        for group in alike.values():
            closes: dict[int, tuple[_Coin, bool]] = {}
            for coin in group:
                for close, nominal in due[coin].items():
                    if close not in closes or not nominal:  # what the finder followed comes before the clock
                        closes[close] = (coin, nominal)
            for decision in self._decisions(group[0], set(closes)):
                coin, nominal = closes[decision.close_ms]
                identity = signal_id(
                    self.settings.account, coin.symbol, coin.timeframe, coin.strategy, decision.close_ms
                )
                if identity not in expected or not nominal:
                    expected[identity] = (coin, decision, nominal)
        return expected

    def _in_force(self, hours: Sequence[int]) -> dict[int, tuple[int, int]]:
        """From when to when each hour's selection should be followed, within the day."""
        spans = {}
        for hour, following in zip_longest(hours, hours[1:]):
            start = as_of_ms(hour)
            oldest = start + self.settings.max_selection_age_s * 1000
            end = min(oldest, as_of_ms(following)) if following is not None else oldest
            spans[hour] = (max(start, self.day_ms), min(end, self.end_ms))
        return spans

    def _decisions(self, coin: _Coin, closes: set[int]) -> list[Decision]:
        tick = self.ticks.get(coin.symbol)
        if tick is None or not closes:
            return []
        try:
            strategy = make_strategy(coin.strategy, coin.parameters)
            data = self.load_decided(coin.symbol, coin.timeframe, strategy, min(closes))
            return list(decisions(strategy, data, closes, tick=tick))
        except TradingAssetsError:
            return []

    def _evaluations_of(self, close_ms: int) -> Iterable[Evaluation]:
        ends = close_ms + self.settings.signal_ttl_s * 1000
        return (one for one in self.live.evaluations if close_ms <= one.time_ms < ends)

    def _why_no_signal(self, coin: _Coin, close_ms: int, *, nominal: bool) -> Verdict:
        if coin.symbol not in self.live.reselected.get(coin.hour_ms, frozenset({coin.symbol})):
            return Verdict(Outcome.SELECTION, "the hour was selected again since, and what was followed is not known")
        evaluations = list(self._evaluations_of(close_ms))
        following = [one for one in evaluations if one.hour_ms == coin.hour_ms and coin.symbol in one.outcomes]
        return compare.why_no_signal(
            [one.outcomes[coin.symbol] for one in following],
            evaluated=bool(evaluations),
            elsewhere=nominal and not following,
        )

    def _judged(self, identity: str, coin: _Coin, decision: Decision | None, row: Row) -> dict[str, object]:
        is_of_day = self.day_ms <= int(row["signal_timestamp_ms"]) < self.end_ms
        signal = {str(name): value if not _missing(value) else None for name, value in row.items()}
        if decision is None and is_of_day:
            verdict = Verdict(Outcome.UNEXPECTED, "live found an entry where the backtest has none")
            return self._row(identity, coin, None, row, verdict)
        if decision is not None:
            differs = compare.same_signal(signal, decision, float(self.ticks[coin.symbol]))
            if differs is not None:
                return self._row(identity, coin, decision, row, differs)
        refused = compare.why_no_position(signal)
        if refused is not None:
            if self._entry(coin, row) is not None and signal["order_link_id"]:
                expected, *_ = self._exits(identity, coin, row, decision, LiveTrade(False, None, OPEN, None, None))
                if expected is not None:
                    self.held[coin.symbol].append((int(row["signal_timestamp_ms"]), int(row["limit_until_ms"])))
                    refused = compare.wait_agrees(signal, expected, self.end_ms) or refused
            return self._row(identity, coin, decision, row, refused)
        return self._traded(identity, coin, decision, row)

    def _traded(self, identity: str, coin: _Coin, decision: Decision | None, row: Row) -> dict[str, object]:
        trade = self.live.trades.get(identity, LiveTrade(False, None, OPEN, None, None))
        long, price = row["position_type"] == "LONG", float(row["entry_price"])
        tolerance = self.settings.parity_tolerance_bps
        waits = self._entry(coin, row) is not None
        verdict = None if waits else compare.entry_agrees(price, trade, tolerance, long=long)
        expected: Exit | None = None
        by_levels: Exit | None = None
        course: Verdict | None = None
        if verdict is None:
            expected, by_levels, course = self._exits(identity, coin, row, decision, trade)
        if waits and expected is not None:
            if expected.fill_price is None:
                verdict = Verdict(Outcome.ENTRY, "filled, where no price of the candles is beyond that of the entry")
            else:
                verdict = compare.entry_agrees(expected.fill_price, trade, tolerance, long=long)
        if verdict is None:
            if expected is None or by_levels is None:
                verdict = Verdict(Outcome.EXIT, "the candles of its time are missing")
            else:
                ended = expected.end_ms if expected.reason != OPEN else self.end_ms
                self.held[coin.symbol].append((int(row["signal_timestamp_ms"]), ended))
                verdict = compare.exit_agrees(trade, expected, by_levels, tolerance, long=long, course=course)
        return self._row(identity, coin, decision, row, verdict or Verdict(Outcome.AGREES), trade, expected)

    def _exits(
        self, identity: str, coin: _Coin, row: Row, decision: Decision | None, trade: LiveTrade
    ) -> tuple[Exit | None, Exit | None, Verdict | None]:
        close_ms, long = int(row["signal_timestamp_ms"]), row["position_type"] == "LONG"
        price, stop, target = (float(row[name]) for name in ("entry_price", "stop_loss", "take_profit"))
        try:
            candles = self.load_held(coin.symbol, coin.timeframe, close_ms)
            leaving = self._leaving(coin, row, close_ms)
        except TradingAssetsError:
            return None, None, None
        expected = replay_exit(
            candles,
            close_ms,
            long=long,
            stop_fraction=decision.stop_fraction if decision is not None else abs(price - stop) / price,
            reward_risk=decision.reward_risk if decision is not None else float(row["risk_reward_ratio"]),
            engine=self.engine,
            costs=replace(costs_of(self.live.followed.get(identity, {}), self.settings), entry=self._entry(coin, row)),
            leaving=leaving,
        )
        since = close_ms if expected is None or expected.filled_ms is None else expected.filled_ms
        tick = self.ticks.get(coin.symbol)
        if leaving is None or tick is None or expected is None:
            return expected, first_touch(candles, since, long=long, stop=stop, target=target), None
        position = Position(leaving.plan, long, close_ms, price, stop, target, since)
        said = plan_decisions(candles, position, leaving, tick=tick)
        course = compare.plan_agrees(said, trade, lambda close_ms: self._ran_at(close_ms, coin.timeframe))
        decided = [one for one in trade.decided if one.kind != PARTS]
        return expected, end_by_decisions(candles, position, decided), course

    def _ran_at(self, close_ms: int, timeframe: Timeframe) -> bool:
        """Whether the finder looked between a close and the next one; of days before this one it is not known."""
        looked = (one.time_ms for one in self.live.evaluations)
        return close_ms < self.day_ms or any(close_ms <= time_ms < close_ms + timeframe.ms for time_ms in looked)

    def _leaving(self, coin: _Coin, row: Row, close_ms: int) -> Leaving | None:
        """What ends the position of a signal besides stop and target; None where nothing does.

        Raises:
            TradingAssetsError: its plan cannot be read, or its strategy cannot be asked.
        """
        if _missing(row["exit_plan"]):
            return None
        declared = DeclaredExits.from_json(str(row["exit_plan"]))
        if not declared.has_conditions:
            return Leaving(declared.plan)
        strategy = make_strategy(coin.strategy, coin.parameters)
        data = self.load_decided(coin.symbol, coin.timeframe, strategy, close_ms)
        signals = strategy.signals(data)
        held = signals.exit_long if row["position_type"] == "LONG" else signals.exit_short
        return Leaving(declared.plan, data.candles.end_ms[held] if held is not None else None)

    def _entry(self, coin: _Coin, row: Row) -> LimitEntry | None:
        """How live's signal waited, whatever its backtest did; None: at the market."""
        order = row.get("entry_order")
        if _missing(order) or order == EntryOrder.MARKET:
            return None
        away = float(row["limit_price"]) / float(row["entry_price"]) - 1
        life_ms = int(row["limit_until_ms"]) - int(row["signal_timestamp_ms"])
        return LimitEntry(
            EntryOrder(str(order)),
            offset=-away if row["position_type"] == "LONG" else away,
            bars=life_ms // coin.timeframe.ms,
            fee=self.settings.maker_fee,
            deviation=float(self.settings.max_price_deviation_pct) / 100,
        )

    def _row(
        self,
        identity: str,
        coin: _Coin,
        decision: Decision | None,
        row: Row | None,
        verdict: Verdict,
        trade: LiveTrade | None = None,
        end: Exit | None = None,
    ) -> dict[str, object]:
        long = decision.long if decision is not None else row is not None and row["position_type"] == "LONG"
        waited_at = end.fill_price if end is not None else None
        price = (
            waited_at
            if waited_at is not None
            else decision.price
            if decision is not None
            else float(row["entry_price"])
            if row is not None
            else math.nan
        )
        fill = trade.entry_price if trade is not None and trade.entry_price is not None else math.nan
        out = trade.exit_price if trade is not None and trade.exit_price is not None else math.nan
        ended = end is not None and end.reason != OPEN
        expected_out = end.price if end is not None and ended else math.nan
        return {
            "day_ms": self.day_ms,
            "signal_id": identity,
            "account": self.settings.account,
            "hour_ms": coin.hour_ms,
            "symbol": coin.symbol,
            "timeframe": coin.timeframe.value,
            "strategy": coin.strategy,
            "bar_close_ms": decision.close_ms
            if decision is not None
            else int(row["signal_timestamp_ms"])
            if row
            else 0,
            "position_type": "LONG" if long else "SHORT",
            "expected": int(decision is not None),
            "live": int(row is not None),
            "outcome": verdict.outcome.value,
            "explained": int(verdict.outcome.explained),
            "reason": verdict.reason,
            "entry_price": price,
            "live_entry_price": fill,
            "slippage_bps": compare.behind_bps(fill, price, long=long),
            "exit_reason": end.reason if end is not None else None,
            "live_exit_reason": trade.exit_reason if trade is not None else None,
            "exit_price": expected_out,
            "live_exit_price": out,
            "exit_difference_bps": compare.behind_bps(out, expected_out, long=not long),
        }


def hours_followed(day_ms: int) -> list[int]:
    """Hours whose selections may have been followed during a day."""
    return list(range(day_ms - 3 * HOUR_MS, day_ms + DAY_MS, HOUR_MS))


def _coin_of(row: Row) -> _Coin:
    return _Coin(
        int(row["hour_ms"]),
        str(row["symbol"]),
        Timeframe(str(row["timeframe"])),
        str(row["strategy"]),
        str(row["parameters"]),
    )


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
