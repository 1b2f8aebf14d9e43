"""A session: one process that lives with a selection, decides on each candle as it closes, and sends the orders.

Candles come by stream into warm frames; what a stream owes and does not bring within a second is read by REST. What to
enter, `finder` decides, what may be sent and how, `executor`: the same as in a run that looks once. Who trades is told
by `session_lease`. What happened is handed to `tell`, so that nobody's event log is waited for.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from trading_assets.core.errors import LeaseLostError, TradingAssetsError
from trading_assets.core.models import Instrument
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.streams import CandleStream, ClosedCandle, StreamEvent, Topic, Up
from trading_assets.core.timeframes import Timeframe, floor_ms
from trading_assets.ledger import orders
from trading_assets.ledger import signals as ledger
from trading_assets.market.store import CandleStore
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.entry import is_due
from trading_assets.trading.decide.finder import BROKEN, FinderReport, find_entry_signals
from trading_assets.trading.execute import submit as executor
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session import lease as session_lease
from trading_assets.trading.session.candle_cache import CandleCache, DataRequest
from trading_assets.trading.session.lease import NotOurTurnError, Queue, Trader, Turn
from trading_assets.trading.session.log import Check, SessionMessage, SessionStats, SignalsFound, Tell
from trading_assets.trading.session.selection import Selected

LOOK_S = 0.2
"""Longest wait for an event before the clock, the lease and the waiting signals are looked at."""

GATHER_S = 0.04
"""Candles of many symbols close in the same second: so long the first wait for the others."""

OWED_S = 1.0
"""A closed candle that the stream has not brought after so long is read by REST, and so often again ..."""
OWED_AGAIN_S = 2.0

WAITING_EVERY_S = 5.0
HAND_OVER_EVERY_S = 0.5
ASK_FOR_TURN_EVERY_S = 0.1
ASK_CLOCK_EVERY_S = 0.5
INSTRUMENTS_EVERY_S = 60.0
PULSE_EVERY_S = 300.0
MISSED_CLOSES = 2
"""So many closes in a row of which the stream owes candles, and it is rebuilt."""


MakeStream = Callable[[Sequence[Topic], Callable[[StreamEvent], None]], CandleStream]


@dataclass
class _Watched:
    """A selected coin. `decided_ms` is the close up to which it was decided, `owed_at` when a close was first seen."""

    row: Mapping[Any, Any]
    timeframe: Timeframe
    wanted: DataRequest | None
    topics: tuple[Topic, ...]
    decided_ms: int = 0
    owed_ms: int = 0
    owed_at: float = 0.0
    rest_at: float = 0.0


class Session:
    """Args:
    check: holds new signals against their schema; those that break it are never sent.
    tell: called with what is worth a reader's eye; must return at once.
    """

    def __init__(
        self,
        *,
        context: ExecutionContext,
        store: CandleStore,
        selected: Selected,
        run: str,
        make_stream: MakeStream,
        check: Callable[[pd.DataFrame], Check],
        tell: Tell,
    ) -> None:
        self._desk, self._selected, self._check, self._tell = context, selected, check, tell
        self._trader = Trader(run, selected.key)
        self._queue = Queue(context.database, context.settings.account, self._trader, context.wall_ms)
        self._turn: Turn | None = None
        rows = selected.rows.sort_values("symbol").to_dict("records")
        self._watched = [_watch({str(name): value for name, value in row.items()}, store.btc) for row in rows]
        wanted = [one.wanted for one in self._watched if one.wanted is not None]
        self._frames = CandleCache(context.exchange, store, wanted)
        self._events: queue.SimpleQueue[StreamEvent] = queue.SimpleQueue()
        self._stream = make_stream(self._frames.topics, self._events.put)
        self._stopping = threading.Event()
        self._instruments: Mapping[str, Instrument] = {}
        self._tally = SessionStats()
        self._asked_ms = self._began_ms = 0
        self._next: dict[str, float] = {}
        self._missed = 0
        self._told: set[str] = set()
        self._pulsed_messages = 0
        self._is_up = self._is_trading = False

    def stop(self) -> None:
        """Ask for the end; from any thread. An order that is being sent is finished first."""
        self._stopping.set()

    def run(self) -> str:
        """Trade until stopped or relieved; why it ended.

        Raises:
            NotOurTurnError: another run trades on the same selection; nothing was done.
            LeaseLostError: another run has taken over unasked; nothing more is sent.
        """
        try:
            if not self._enter():
                return "stopped before it had its turn"
            self._warm_up()
            return self._live()
        finally:
            # First of all: the successor waits for it.
            with contextlib.suppress(TradingAssetsError):  # a ledger that is locked: the lease runs out by itself
                if self._turn is not None:
                    self._turn.give_back()
                self._queue.leave()
            self._stream.stop()
            self._pulse()

    # Beginning

    def _enter(self) -> bool:
        """Find out whether there is anything to do here; False when stopped. A predecessor trades on meanwhile."""
        while not self._stopping.is_set():
            self._turn = self._queue.ask(ready=False)
            if self._turn is not None or self._queue.predecessor is not None:
                return True
            self._stopping.wait(LOOK_S)
        return False

    def _warm_up(self) -> None:
        began = time.monotonic()
        self._stream.start()
        now_ms = self._ask_clock()
        self._refresh_instruments()
        self._warn_once("could not be read", self._frames.catch_up(self._frames.topics, now_ms))
        self._warn_once("could not be read", self._frames.refresh_funding(self._frames.funding_due(now_ms), now_ms))
        self._rehearse(now_ms)
        before = f"; {self._queue.predecessor} trades until then" if self._turn is None else ""
        self._say(
            f"{len(self._watched)} coins of {self._selected.key}, {len(self._frames.topics)} series of candles warm in "
            f"{time.monotonic() - began:.1f} s{before}"
        )

    def _rehearse(self, now_ms: int) -> None:
        """What is slow the first time (imports, compiling, caches) is so before the first candle, not after it."""
        for one in self._watched:
            if one.wanted is not None:
                with contextlib.suppress(Exception):  # what a strategy raises, the finder reports
                    strategy = make_strategy(str(one.row["strategy"]), str(one.row["parameters"]))
                    strategy.signals(self._frames.load(one.wanted, now_ms))
        self._check(ledger.by_ids(self._desk.database, []))

    def _has_started(self) -> bool:
        """The books first: nothing is opened before ledger and exchange have been compared."""
        if not self._is_time("books", OWED_AGAIN_S):
            return False
        try:
            report = reconcile(self._trading_context())
        except TradingAssetsError as error:
            self._warn_once("could not be compared, nothing is opened before they are", {"the books": error})
            return False
        self._say(
            f"trading: {report.open_positions} positions are open, {report.recovered} orders were recovered, equity "
            f"{report.equity:.2f} USD"
        )
        return True

    # Life

    def _live(self) -> str:
        while not self._stopping.is_set():
            try:
                ended = self._round()
            except (LeaseLostError, NotOurTurnError):
                raise
            except TradingAssetsError as error:
                # Such as a ledger that is locked: candles stay owed and signals wait, as long as they are young.
                self._warn_once("failed", {"a look at candles and signals": error})
                self._stopping.wait(OWED_S)
            else:
                if ended:
                    return ended
        return "stopped"

    def _round(self) -> str:
        """Once round the loop; why the session is over, if it is."""
        self._take_events(self._patience())
        now_ms = self._now_ms()
        if self._turn is None:
            self._turn = self._queue.ask(ready=True)
            if self._turn is None:
                return ""
        self._turn.beat()
        self._turn.require()
        if self._is_time("hand over", HAND_OVER_EVERY_S):
            account, wall_ms = self._desk.settings.account, self._desk.wall_ms()
            successor = session_lease.is_relieved(self._desk.database, account, wall_ms=wall_ms)
            if successor is not None:
                return f"handed over to {successor}, which trades on {successor.serves}"
        if not self._is_trading and self._has_started():
            self._is_trading, self._began_ms = True, now_ms
        if self._is_trading:
            self._decide(now_ms)
            self._look_after(now_ms)
        return ""

    def _patience(self) -> float:
        if self._turn is None:
            return ASK_FOR_TURN_EVERY_S
        return GATHER_S / 2 if any(one.owed_ms > one.decided_ms for one in self._watched) else LOOK_S

    def _take_events(self, wait_s: float) -> None:
        try:
            self._take(self._events.get(timeout=wait_s))
            while True:
                self._take(self._events.get_nowait())
        except queue.Empty:
            return

    def _take(self, event: StreamEvent) -> None:
        match event:
            case ClosedCandle():
                self._frames.add(event)
            case Up():
                # What closed while nobody listened is not told again.
                now_ms = self._ask_clock()
                behind = self._frames.behind(self._frames.topics, now_ms)
                self._warn_once("could not be read", self._frames.catch_up(behind, now_ms))
                if event.refused:
                    names = ", ".join(f"{symbol} {timeframe}" for symbol, timeframe in event.refused)
                    self._say_once(f"not streamed by the venue, read by REST instead: {names}", is_warning=True)
                if self._stream.counts.connections > 1 and not self._is_up:
                    self._say("the stream is back; what closed meanwhile was read by REST")
                self._is_up = True
            case _:
                if self._is_up:
                    self._say(f"the stream is down, candles come by REST: {event.reason}", is_warning=True)
                self._is_up = False

    def _decide(self, now_ms: int) -> None:
        """Decide on every coin whose candle has closed and whose series are complete, at once."""
        ttl_s = self._desk.settings.signal_ttl_s
        moment = time.monotonic()
        ready, owing = list[_Watched](), list[_Watched]()
        for one in self._watched:
            close = floor_ms(now_ms, one.timeframe.ms)
            if close <= one.decided_ms:
                continue
            if not is_due(one.timeframe, now_ms, ttl_s):
                one.decided_ms = close
                continue
            if one.owed_ms != close:
                one.owed_ms, one.owed_at = close, moment
            (ready if self._is_complete(one, now_ms) else owing).append(one)
        if owing and ready and moment - min(one.owed_at for one in ready) < GATHER_S:
            return
        if ready:
            self._decide_on(ready, now_ms)
        late = [one for one in owing if moment - one.owed_at >= OWED_S and moment - one.rest_at >= OWED_AGAIN_S]
        if late:
            self._read_owed(late, now_ms)
        elif ready and not owing:
            self._missed = 0

    def _is_complete(self, one: _Watched, now_ms: int) -> bool:
        return self._frames.is_complete(one.topics, now_ms) and self._frames.is_funded(str(one.row["symbol"]), now_ms)

    def _read_owed(self, late: Sequence[_Watched], now_ms: int) -> None:
        """What the stream owes, by REST; a venue that has no such candle either leaves it to the next look."""
        is_first = all(one.rest_at < one.owed_at for one in late)
        for one in late:
            one.rest_at = time.monotonic()
        self._refresh_funding(now_ms)
        behind = self._frames.behind([topic for one in late for topic in one.topics], now_ms)
        failures = self._frames.catch_up(behind, now_ms)
        self._tally.by_rest += len(behind) - len(failures)
        self._warn_once("could not be read", failures)
        # Another timeframe's candle may be one that the venue lacks as well; the own one must be there.
        settled = [
            one
            for one in late
            if not failures.keys() & set(one.topics)
            and self._frames.is_complete(one.topics[:1], now_ms)
            and self._frames.is_funded(str(one.row["symbol"]), now_ms)
        ]
        if settled:
            self._decide_on(settled, now_ms)
        if self._is_up and is_first:
            self._missed += 1
            if self._missed >= MISSED_CLOSES:
                self._missed = 0
                self._stream.rebuild()

    def _decide_on(self, coins: Sequence[_Watched], now_ms: int) -> None:
        closes = {one.timeframe: floor_ms(now_ms, one.timeframe.ms) for one in coins}

        def load(symbol: str, timeframe: Timeframe, strategy: Strategy) -> StrategyData:
            return self._frames.load(DataRequest(symbol, timeframe, strategy.needs(), self._frames.btc), now_ms)

        report = find_entry_signals(
            database=self._desk.database,
            selections=pd.DataFrame([dict(one.row) for one in coins]),
            load=load,
            instruments=self._instruments,
            settings=self._desk.settings,
            now_ms=now_ms,
            run_id=self._trader.run,
        )
        for one in coins:
            one.decided_ms = closes[one.timeframe]
            if one.decided_ms >= self._began_ms:  # at the start a candle may have closed minutes ago
                self._tally.latencies_ms.append(now_ms - one.decided_ms)
        self._tally.closes += len(coins)
        self._tally.signals += len(report.signals)
        self._tally.skipped += report.skipped
        self._warn_once("could not be decided", report.failures)
        if report.signals:
            self._act_on(report)

    def _act_on(self, report: FinderReport) -> None:
        identities = [str(row["signal_id"]) for row in report.signals]
        rows = ledger.by_ids(self._desk.database, identities)
        check = self._check(rows)
        if check.passed:
            self._submit()
        else:
            ledger.reject(self._desk.database, identities, BROKEN)
            self._say("entry_signals broke its schema: no order was sent; see its check", is_warning=True)
        self._tell(SignalsFound(rows, check, dict(report.skipped)))

    def _submit(self) -> None:
        if self._turn is None:
            raise AssertionError("only who has the turn sends orders")
        self._turn.require()
        try:
            report = executor.submit_orders(self._trading_context())
        except LeaseLostError:
            raise
        except TradingAssetsError as error:
            self._warn_once("no order was sent, signals wait", {"submit": error})
            return
        self._next["waiting"] = time.monotonic() + WAITING_EVERY_S
        self._tally.executed += len(report.executed)
        self._tally.rejected += len(report.rejected)
        self._tally.refused += len(report.refused)
        if report.executed or report.unknown or report.recovered:
            self._say(
                f"{len(report.executed)} orders executed, {len(report.rejected)} rejected, {len(report.refused)} "
                f"waiting, {len(report.unknown)} with unknown outcome, {report.recovered} recovered"
            )

    def _look_after(self, now_ms: int) -> None:
        """What is not bound to a candle: waiting signals, contracts, funding, the pulse."""
        account = self._desk.settings.account
        if self._is_time("waiting", WAITING_EVERY_S) and (
            len(ledger.active(self._desk.database, account)) or orders.unresolved(self._desk.database, account)
        ):
            self._submit()
        if self._is_time("instruments", INSTRUMENTS_EVERY_S):
            self._refresh_instruments()
        self._refresh_funding(now_ms)
        if self._is_time("pulse", PULSE_EVERY_S):
            self._pulse()

    def _refresh_instruments(self) -> None:
        try:
            self._instruments = self._desk.rules.of(self._desk.exchange, set(), self._desk.wall_ms())
        except TradingAssetsError as error:
            self._warn_once("could not be read", {"contracts": error})
            self._next["instruments"] = time.monotonic() + OWED_AGAIN_S

    def _refresh_funding(self, now_ms: int) -> None:
        due = self._frames.funding_due(now_ms)
        if due and self._is_time("funding", OWED_AGAIN_S):
            self._warn_once("could not be read", self._frames.refresh_funding(due, now_ms))

    # Time

    def _now_ms(self) -> int:
        """The venue's time: that of the newest message, and where messages are rare, what it says when asked."""
        if time.monotonic() - self._stream.heard_at > ASK_CLOCK_EVERY_S and self._is_time("clock", ASK_CLOCK_EVERY_S):
            return self._ask_clock()
        return max(self._stream.venue_ms, self._asked_ms)

    def _ask_clock(self) -> int:
        try:
            self._asked_ms = max(self._asked_ms, self._desk.exchange.now_ms())
        except TradingAssetsError as error:
            self._warn_once("could not be read", {"the exchange's time": error})
        return max(self._stream.venue_ms, self._asked_ms)

    def _is_time(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + every_s
        return True

    # Telling

    def _say(self, text: str, *, is_warning: bool = False) -> None:
        self._tell(SessionMessage(text, is_warning))

    def _say_once(self, text: str, *, is_warning: bool = False) -> None:
        if text not in self._told and len(self._told) < 200:
            self._told.add(text)
            self._say(text, is_warning=is_warning)

    def _warn_once(self, what: str, failures: Mapping[Any, object]) -> None:
        """One line for all that failed in the same way, and once only: the pulse counts what goes on."""
        by_reason: dict[str, list[str]] = {}
        for item, error in failures.items():
            name = " ".join(map(str, item)) if isinstance(item, tuple) else str(item)
            by_reason.setdefault(str(error), []).append(name)
        for reason, names in by_reason.items():
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            self._say_once(f"{shown} {what}: {reason}", is_warning=True)

    def _pulse(self) -> None:
        self._told.clear()
        tally, counts = self._tally, self._stream.counts
        self._tally = SessionStats()
        self._tell(tally.pulse(connections=counts.connections, messages=counts.messages - self._pulsed_messages))
        self._pulsed_messages = counts.messages

    def _trading_context(self) -> ExecutionContext:
        return replace(self._desk, lease=self._turn.lease if self._turn is not None else None)


def _watch(row: Mapping[Any, Any], btc: str) -> _Watched:
    symbol, timeframe = str(row["symbol"]), Timeframe(str(row["timeframe"]))
    try:
        needs = make_strategy(str(row["strategy"]), str(row["parameters"])).needs()
    except Exception:  # noqa: BLE001 (a user's strategy may raise anything; the finder reports it, the others go on)
        return _Watched(row, timeframe, None, ())
    wanted = DataRequest(symbol, timeframe, needs, btc)
    return _Watched(row, timeframe, wanted, wanted.topics)
