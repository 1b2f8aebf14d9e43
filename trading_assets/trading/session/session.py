"""A session: one process that trades a selection. It decides on each candle as it closes, and sends the orders.

This module is the loop. How far each coin was decided, `watchlist` remembers; candles come from `feed`; signals and
orders are made by `entries`, as in a run that looks once; `lease` tells who trades; what happened goes to `log`, so
that the loop never waits for an event log. Orders are sent and books are read at desks beside the loop, so that it
never waits for them either.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from trading_assets.core.errors import (
    LeaseLostError,
    TradingAssetsError,
    WrongBooksError,
)
from trading_assets.core.settings import Settings
from trading_assets.core.streams import (
    AccountChanged,
    AccountEvent,
    AccountStream,
    CandleStream,
    StreamEvent,
    Topic,
    Up,
)
from trading_assets.core.timeframes import MINUTE_MS, local_ms
from trading_assets.ledger import orders
from trading_assets.ledger.process_reports import SESSION, reporting
from trading_assets.ledger.selections import chose_no_coin
from trading_assets.market.store import CandleStore
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.maintain import maintain as maintain_plans
from trading_assets.trading.execute.exit_plans import follow_exit_plans
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.keeper import Keeper
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.ahead import CloseWatch, ReadAhead
from trading_assets.trading.session.candle_cache import CandleCache
from trading_assets.trading.session.clock import Timer, VenueClock
from trading_assets.trading.session.entries import WAITING_EVERY_S, EntryPipeline
from trading_assets.trading.session.feed import CandleFeed
from trading_assets.trading.session.lease import (
    AccountTakenError,
    LeaseHandover,
    LeaseKeeper,
    Trader,
    successor_of,
)
from trading_assets.trading.session.log import Check, SessionLog, Tell
from trading_assets.trading.session.registry import registered
from trading_assets.trading.session.watchlist import (
    GATHER_S,
    LATE_AFTER_S,
    LATE_AGAIN_S,
    Coin,
    Selected,
    Watchlist,
    should_gather,
)
from trading_assets.trading.session.worker_thread import WorkerThread, finish_all

EVENT_WAIT_S = 0.2
"""Longest wait for a candle before the loop looks at the clock, the lease and the waiting signals."""

ASK_FOR_LEASE_EVERY_S = 0.1
HAND_OVER_EVERY_S = 1.0
HEARTBEAT_EVERY_S = 300.0

SETTINGS_EVERY_S = 2.0
"""Changes of settings and flags are looked for so often: they are obeyed within 5 s."""

BOOKS_EVERY_S = 1.0
"""Books are read at most so often, however much the account's stream tells."""

BOOKS_AFTER_ORDERS_S = 1.0
"""They are read after the orders of a close, which change them and which reading would delay; so late at most."""

BARE_EVERY_S = 2.0
"""A position without its stop is looked at so often."""

GRIDS_EVERY_S = 10.0
"""Grids and DCA plans are looked after so often, and whenever something of the account has changed."""

EXITS_EVERY_S = 0.5
"""Exit plans are looked at at most so often."""

TOLD_WITHIN_S = 1.0
"""The time that a stream has told counts as the venue's for so long."""

FINISH_WITHIN_S = 45.0
"""Longest wait for all that is being sent when the session ends; then the lease is given back in any case."""

MakeAccountStream = Callable[[Callable[[AccountEvent], None]], AccountStream]
MakeStream = Callable[[Sequence[Topic], Callable[[StreamEvent], None]], CandleStream]


class Session:
    """A session from its start to its end.

    Args:
        run: the run that it lives in.
        make_stream: makes the stream of these series, which delivers its events to the function given.
        check: holds new signals against their schema; see `EntryPipeline`.
        make_account_stream: makes the stream of the account's changes; without one, books are read by others only.
        tell: called with each message, heartbeat and set of signals. It must return at once.
        newest_settings: what holds for the account now, by environment, file and ledger; without it nothing changes.
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
        make_account_stream: MakeAccountStream | None = None,
        newest_settings: Callable[[], Settings] | None = None,
    ) -> None:
        self._base_context, self._selected, self._run = context, selected, run
        self._log = SessionLog(tell)
        self._watchlist = Watchlist(selected, store.btc)
        cache = CandleCache(context.exchange, store, self._watchlist.requests)
        events: queue.SimpleQueue[StreamEvent] = queue.SimpleQueue()
        self._stream = make_stream(cache.topics, events.put)
        self._clock = VenueClock(context, self._stream, self._log)
        self._feed = CandleFeed(cache, self._stream, events, self._clock, self._log, self._reading)
        self._entries = EntryPipeline(context, self._feed, run, check, self._authorise, self._log)
        self._books = WorkerThread("books", self._read_books, rest_s=BOOKS_EVERY_S)
        self._exits = WorkerThread("exits", self._follow_exits, rest_s=EXITS_EVERY_S)
        self._keeper = Keeper(self._account_heard_at, self._told_ms)
        ahead = ReadAhead(self._keeper, self._authorise, lambda: [coin.symbol for coin in self._watchlist.coins])
        self._reads = WorkerThread("reads", ahead.read)
        self._leverages = WorkerThread("leverages", ahead.set_leverages, rest_s=BOOKS_EVERY_S)
        self._close_watch = CloseWatch()
        self._store, self._asked, self._asked_minute = store, dict[str, int](), 0
        self._account_stream = make_account_stream(self._hear_account) if make_account_stream is not None else None
        account, trader = context.settings.account, Trader(run, selected.key)
        self._handover = LeaseHandover(context.database, account, trader, context.wall_ms)
        self._lease: LeaseKeeper | None = None
        self._began_ms: int | None = None
        self._reconcile_timer, self._hand_over_timer = Timer(LATE_AGAIN_S), Timer(HAND_OVER_EVERY_S)
        self._heartbeat_timer, self._settings_timer = Timer(HEARTBEAT_EVERY_S), Timer(SETTINGS_EVERY_S)
        self._newest_settings = newest_settings
        self._stopping = threading.Event()
        self._looped_at = 0.0
        self._key_expires: dict[str, float] | None = None

    def stop(self) -> None:
        """Ask for the end, from any thread. An order that is being sent is finished first."""
        self._stopping.set()

    def run(self) -> str:
        """Trade until stopped or succeeded. Return why it ended.

        Raises:
            AccountTakenError: another run trades on the same selection; nothing was done.
            LeaseLostError: another run has taken the lease unasked; nothing more is sent.
            WrongBooksError: the ledger is not that of the key's account; nothing was decided.
        """
        try:
            if not self._enter():
                return "stopped before it had its turn"
            context = self._base_context
            account = context.settings.account
            with (
                registered(context.settings, context.database, self._run),
                reporting(context.database, account, SESSION, gauges=self._gauges),
            ):
                with self._reading():
                    self._warm_up()
                return self._live()
        finally:
            # What is being sent is finished under the lease, which a thread renews meanwhile.
            if not finish_all(self._workers, FINISH_WITHIN_S):
                self._log.say("what was being sent has no answer yet; it is looked up later", is_warning=True)
            with contextlib.suppress(TradingAssetsError):
                self._entries.check_found()
            # Then the lease: the successor waits for it.
            with contextlib.suppress(TradingAssetsError):  # a ledger that is locked: the lease runs out by itself
                if self._lease is not None:
                    self._lease.give_back()
                self._handover.leave()
            self._clock.stop()
            self._stream.stop()
            if self._account_stream is not None:
                self._account_stream.stop()
            self._log.heartbeat(self._stream.counts)

    def _enter(self) -> bool:
        """Ask for the lease until it is ours or a predecessor's, who trades on meanwhile. Return False when stopped."""
        while not self._stopping.is_set():
            self._lease = self._handover.ask(ready=False)
            if self._lease is not None or self._handover.predecessor is not None:
                return True
            self._stopping.wait(EVENT_WAIT_S)
        return False

    def _warm_up(self) -> None:
        began = time.monotonic()
        self._stream.start()
        now_ms = self._clock.ask()
        self._clock.start()
        for worker in self._workers:
            worker.start()
        self._entries.refresh_contracts(now=True)
        series = self._feed.warm_up(now_ms)
        self._entries.rehearse(self._watchlist.coins, now_ms)
        before = f"; {self._handover.predecessor} trades until then" if self._lease is None else ""
        if self._selected.is_empty:
            self._log.say(f"{chose_no_coin(self._selected.hour_ms)}: no new signal, what is open is looked after")
        self._log.say(
            f"{len(self._watchlist.coins)} coins of {self._selected.key}, {series} series of candles warm in "
            f"{time.monotonic() - began:.1f} s{before}"
        )

    def _live(self) -> str:
        while not self._stopping.is_set():
            try:
                ended = self._loop_once()
            except (LeaseLostError, AccountTakenError, WrongBooksError):
                raise
            except TradingAssetsError as error:
                # Such as a ledger that is locked: closes stay pending and signals wait, as long as they are young.
                self._log.warn_once("failed", {"a look at candles and signals": error})
                self._stopping.wait(LATE_AFTER_S)
            else:
                if ended:
                    return ended
        return "stopped"

    def _gauges(self) -> dict[str, float]:
        """When the loop came round last, and the stream was heard last, UTC ms of the local clock; the venue's time."""
        wall_ms, now, venue_ms = local_ms(), time.monotonic(), self._clock.now_ms()
        moments = {"looped_wall_ms": self._looped_at, "heard_wall_ms": self._stream.heard_at}
        found = {name: wall_ms - (now - at) * 1000 for name, at in moments.items() if at}
        if self._key_expires is None and self._began_ms is not None:
            self._key_expires = self._asked_key_expires()
        found |= {"venue_ms": float(venue_ms)} if venue_ms else {}
        return found | (self._key_expires or {})

    def _asked_key_expires(self) -> dict[str, float]:
        """When the API key expires, UTC ms; empty where it does not, or the venue does not say."""
        try:
            key = self._base_context.exchange.api_key()
        except TradingAssetsError:
            return {}
        return {} if key is None or key.expires_ms is None else {"key_expires_ms": float(key.expires_ms)}

    def _loop_once(self) -> str:
        """Go once round the loop. Return why the session is over, if it is."""
        self._looped_at = time.monotonic()
        self._feed.receive(self._wait_s())
        now_ms = self._clock.now_ms()
        if self._lease is None:
            self._lease = self._handover.ask(ready=True)
            if self._lease is None:
                return ""
        self._lease.beat()
        self._lease.require()
        for worker in self._workers:
            worker.require()
        if self._hand_over_timer.ring():
            context = self._base_context
            successor = successor_of(context.database, context.settings.account, wall_ms=context.wall_ms())
            if successor is not None:
                return f"handed over to {successor}, which trades on {successor.serves}"
            off = context.why_off()
            if off:
                return off
        self._obey()
        if self._began_ms is None and self._reconcile_timer.ring() and self._reconcile():
            self._began_ms = now_ms
            if self._account_stream is not None:
                self._account_stream.start()
        if self._began_ms is not None:
            self._ask_exits(now_ms)
            self._read_ahead()
            self._decide(now_ms, self._began_ms)
            self._entries.submit_waiting()
            with self._reading():
                self._entries.refresh_contracts()
            self._feed.refresh_funding(now_ms)
            if self._heartbeat_timer.ring():
                self._log.heartbeat(self._stream.counts)
        return ""

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        """Enter around what waits for the exchange in the loop: the lease is kept meanwhile."""
        return self._lease.reading() if self._lease is not None else contextlib.nullcontext()

    def _obey(self) -> None:
        """Take over what a person has changed of settings and flags; where that cannot be read, the last holds."""
        if self._newest_settings is None or not self._settings_timer.ring():
            return
        held = self._base_context.settings
        try:
            newest = self._newest_settings()
        except TradingAssetsError as error:
            self._log.warn_once("cannot be read, the last hold", {"settings": error})
            return
        if newest.version == held.version:
            return
        self._base_context = replace(self._base_context, settings=newest)
        self._entries.use(self._base_context)
        self._log.say(f"version {newest.version} of settings and flags holds: {newest.differences(held)}")

    @property
    def _workers(self) -> tuple[WorkerThread, ...]:
        return self._entries.worker, self._books, self._exits, self._reads, self._leverages

    def _wait_s(self) -> float:
        """How long to wait for the next event."""
        if self._lease is None:
            return ASK_FOR_LEASE_EVERY_S
        return GATHER_S / 2 if self._watchlist.has_pending else EVENT_WAIT_S

    def _reconcile(self) -> bool:
        """Compare ledger and exchange: nothing is opened before. Return whether that succeeded."""
        try:
            with self._reading():
                account_refusals.require_tradable(self._base_context)
                report = reconcile(self._context())
        except WrongBooksError:
            raise
        except TradingAssetsError as error:
            self._log.warn_once("could not be compared, nothing is opened before they are", {"the books": error})
            return False
        self._log.say(
            f"trading: {report.open_positions} positions are open, {report.recovered} orders were recovered, equity "
            f"{report.equity:.2f} USD"
        )
        return True

    def _hear_account(self, event: AccountEvent) -> None:
        """Something of the account has changed, or may have while nobody listened: the books are read."""
        self._keeper.hear(event)
        if isinstance(event, AccountChanged | Up):
            self._books.wake()

    def _account_heard_at(self) -> float:
        return self._account_stream.heard_at if self._account_stream is not None else float("-inf")

    def _told_ms(self) -> int | None:
        """The venue's time as its stream has just told it, where a question costs a request."""
        is_fresh = time.monotonic() - self._stream.heard_at <= TOLD_WITHIN_S and self._stream.venue_ms
        return self._stream.venue_ms if is_fresh and self._base_context.settings.venue.adapter.is_simulated else None

    def _read_ahead(self) -> None:
        """Have account and prices read when a close is near."""
        timeframes = {coin.timeframe for coin in self._watchlist.coins}
        if self._close_watch.is_near(timeframes, self._stream.venue_ms, self._stream.heard_at, time.monotonic()):
            self._reads.wake()

    def _read_books(self) -> float | None:
        """Read the books, and look after positions without a stop. What a stream tells is a hint; REST is the truth."""
        self._entries.wait_for_orders(BOOKS_AFTER_ORDERS_S)
        context = self._context()
        try:
            reconcile(context)
            kept, plans = maintain(context), maintain_plans(context)
            is_bare = bool(orders.unprotected(context.database, context.settings.account))
        except TradingAssetsError as error:
            self._log.warn_once("could not be read, it is tried again", {"the books": error})
            return WAITING_EVERY_S
        self._exits.wake()  # an entry may have become a position, whose plan begins
        self._leverages.wake()  # a coin may be free again
        failed = {f"the grid in {name}": why for name, why in kept.failed.items()}
        failed |= {f"the DCA plan in {name}": why for name, why in plans.failed.items()}
        if failed:
            self._log.warn_once("could not be kept, it is tried again", failed)
        if is_bare:
            return BARE_EVERY_S
        if plans.next_ms is not None:
            return min(GRIDS_EVERY_S, max((plans.next_ms - context.exchange.now_ms()) / 1000, BARE_EVERY_S))
        return GRIDS_EVERY_S if kept.grids or kept.busy or plans.plans or plans.busy else None

    def _ask_exits(self, now_ms: int) -> None:
        """Have the exit plans asked once a minute: every timeframe's candles close at one."""
        if now_ms // MINUTE_MS != self._asked_minute:
            self._asked_minute = now_ms // MINUTE_MS
            self._exits.wake()

    def _follow_exits(self) -> float | None:
        """Follow the exit plans of open positions. Return after how many seconds to come again, where one is late."""
        try:
            report = follow_exit_plans(self._context(), self._store, self._asked)
        except TradingAssetsError as error:
            self._log.warn_once("could not be followed, it is tried again", {"exit plans": error})
            return WAITING_EVERY_S
        for symbol, what in report.decided.items():
            self._log.say(f"{symbol}: {what}")
        self._log.warn_once("has an exit that could not be followed", report.failed)
        if report.decided:
            self._books.wake()
        if report.late:
            return LATE_AFTER_S
        return WAITING_EVERY_S if report.failed else None

    def _decide(self, now_ms: int, began_ms: int) -> None:
        """Decide on every coin whose candle has closed and whose series are complete, all at once."""
        moment = time.monotonic()
        ready, waiting = list[Coin](), list[Coin]()
        for coin in self._watchlist.update(now_ms, moment, self._base_context.settings.signal_ttl_s):
            (ready if self._feed.is_complete(coin, now_ms) else waiting).append(coin)
        if should_gather(ready, waiting, moment):
            return
        if ready:
            self._entries.decide(ready, now_ms, began_ms)
        late = [coin for coin in waiting if coin.is_late(moment)]
        if late:
            self._decide_late(late, now_ms, began_ms)
        elif ready and not waiting:
            self._feed.count_complete_close()

    def _decide_late(self, late: Sequence[Coin], now_ms: int, began_ms: int) -> None:
        """Read late candles by REST and decide. A coin whose candle the venue lacks, too, stays pending."""
        is_first = all(coin.read_at < coin.pending_at for coin in late)
        for coin in late:
            coin.read_at = time.monotonic()
        failures = self._feed.read_late([topic for coin in late for topic in coin.topics], now_ms)
        # Another timeframe's candle may be one that the venue lacks as well; the own one must be there.
        settled = [
            coin for coin in late if not failures.keys() & set(coin.topics) and self._feed.has_own_candle(coin, now_ms)
        ]
        if settled:
            self._entries.decide(settled, now_ms, began_ms)
        if self._feed.is_up and is_first:
            self._feed.count_missed_close()

    def _context(self) -> ExecutionContext:
        lease = self._lease.lease if self._lease is not None else None
        return replace(self._base_context, lease=lease, ends=self._is_ending, keeper=self._keeper)

    def _is_ending(self) -> bool:
        return self._stopping.is_set() or self._entries.worker.is_ending

    def _authorise(self) -> ExecutionContext:
        """Return the context to send orders with.

        Raises:
            LeaseLostError: the lease is lost; nothing more is sent.
        """
        if self._lease is None:
            raise AssertionError("only who has the lease sends orders")
        self._lease.require()
        return self._context()
