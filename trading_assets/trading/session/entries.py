"""From complete candles to orders: signals are found, and sent by a thread of their own.

New signals are held against their schema twice: by plain comparisons in the transaction that adds them, so that what
breaks it never waits to be sent; and by the full check, whose report is shown, once their orders are sent.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from trading_assets.core.errors import LeaseLostError, TradingAssetsError
from trading_assets.core.models import Instrument
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe, floor_ms
from trading_assets.ledger import orders, signals
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.finder import FinderReport, find_entry_signals, signal_message
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.session.candle_cache import DataRequest
from trading_assets.trading.session.clock import Timer
from trading_assets.trading.session.feed import CandleFeed
from trading_assets.trading.session.log import Check, SessionLog, SignalsFound
from trading_assets.trading.session.watchlist import LATE_AGAIN_S, Coin
from trading_assets.trading.session.worker_thread import WorkerThread

WAITING_EVERY_S = 5.0
STOPPED_AGAIN_S = 1.0
"""A round that the exchange has cut short is followed by another one after this time."""

CONTRACTS_EVERY_S = 60.0


class EntryPipeline:
    """Finds signals of coins and sends their orders, as a run of the trade job does that looks once.

    Attributes:
        worker: sends the orders, in a thread of its own: a slow exchange keeps no candle waiting.

    Args:
        run: the run that signals are recorded with.
        check: holds new signals against their schema, once their orders are sent. What it refuses and the ledger let
            through is a fault of this program: nothing more is sent then.
        authorise: the context with the session's lease; raises `LeaseLostError` where the lease is lost.
    """

    def __init__(
        self,
        context: ExecutionContext,
        feed: CandleFeed,
        run: str,
        check: Callable[[pd.DataFrame], Check],
        authorise: Callable[[], ExecutionContext],
        log: SessionLog,
    ) -> None:
        self._context, self._feed, self._run = context, feed, run
        self._check, self._authorise, self._log = check, authorise, log
        self.worker = WorkerThread("orders", self._submit)
        self._rests = threading.Event()
        self._rests.set()
        self._contracts: Mapping[str, Instrument] = {}
        self._found = deque[FinderReport]()
        self._distrusted = False
        self._contracts_timer, self._waiting_timer = Timer(CONTRACTS_EVERY_S), Timer(WAITING_EVERY_S)

    def use(self, context: ExecutionContext) -> None:
        """Decide with another context from now on: its settings have changed. A look in progress keeps its own."""
        self._context = context

    def rehearse(self, coins: Sequence[Coin], now_ms: int) -> None:
        """Do once what is slow the first time (imports, compiling, caches), before a candle waits for it."""
        for coin in coins:
            if coin.request is not None:
                with contextlib.suppress(Exception):  # what a strategy raises, the finder reports
                    strategy = make_strategy(str(coin.row["strategy"]), str(coin.row["parameters"]))
                    strategy.signals(self._feed.load(coin.request, now_ms))
        self._check(signals.by_ids(self._context.database, []))

    def decide(self, coins: Sequence[Coin], now_ms: int, began_ms: int) -> None:
        """Decide on the newest close of these coins, and submit the signals found.

        Args:
            began_ms: when the session began to trade. Latencies of candles that closed before are not counted.
        """
        context = self._context  # one version of the settings for the whole look
        closes = {coin.timeframe: floor_ms(now_ms, coin.timeframe.ms) for coin in coins}

        def load(symbol: str, timeframe: Timeframe, strategy: Strategy) -> StrategyData:
            return self._feed.load(DataRequest(symbol, timeframe, strategy.needs(), self._feed.btc), now_ms)

        report = find_entry_signals(
            database=context.database,
            selections=[coin.row for coin in coins],
            load=load,
            instruments=self._contracts,
            settings=context.settings,
            now_ms=now_ms,
            run_id=self._run,
            hurry=self._send_found,
        )
        stats = self._log.stats
        for coin in coins:
            coin.decided_ms = closes[coin.timeframe]
            if coin.decided_ms >= began_ms:
                stats.latencies_ms.append(now_ms - coin.decided_ms)
        stats.closes += len(coins)
        stats.signals += len(report.signals)
        stats.skipped += report.skipped
        self._log.warn_once("could not be decided", report.failures)
        if report.signals:
            self._context.tell(*map(signal_message, report.signals))

    def _send_found(self, report: FinderReport) -> None:
        self._found.append(report)
        self.worker.wake()

    def submit_waiting(self) -> None:
        """Submit again, every few seconds, what waits or is not settled."""
        database, account = self._context.database, self._context.settings.account
        if self._waiting_timer.ring() and (
            len(signals.active(database, account)) or orders.unresolved(database, account)
        ):
            self.worker.wake()

    def wait_for_orders(self, within_s: float) -> bool:
        """Wait until no round of sending is under way, or for so long: what else needs the processor delays orders.

        Return whether none is.
        """
        return self._rests.wait(within_s)

    def refresh_contracts(self, *, now: bool = False) -> None:
        """Read the venue's contracts every minute, or `now`."""
        if not (now or self._contracts_timer.ring()):
            return
        try:
            self._contracts = self._context.contracts.get(self._context.exchange, set(), self._context.wall_ms())
        except TradingAssetsError as error:
            self._log.warn_once("could not be read", {"contracts": error})
            self._contracts_timer.restart(LATE_AGAIN_S)

    def check_found(self) -> None:
        """Hold the signals that were found since the last time against their schema, and tell them."""
        while True:
            try:
                report = self._found.popleft()
            except IndexError:
                return
            try:
                self._check_one(report)
            except TradingAssetsError as error:
                self._log.warn_once("could not be held against their schema", {"new signals": error})

    def _check_one(self, report: FinderReport) -> None:
        identities = [str(row["signal_id"]) for row in report.signals]
        rows = signals.by_ids(self._context.database, identities)
        check = self._check(rows)
        if (rows["reason"] == signals.BROKEN).all():
            self._log.say("entry_signals broke its schema: no order was sent; see its check", is_warning=True)
        elif not check.passed:
            self._distrusted = True
            signals.reject(self._context.database, identities, signals.BROKEN)
            self._log.say(
                "entry_signals broke its schema, and the ledger did not see it: what was not sent yet is rejected, and "
                "this session sends nothing more; see its check, and report it",
                is_warning=True,
            )
        self._log.tell(SignalsFound(rows, check, dict(report.skipped)))

    def _submit(self) -> float | None:
        """Submit what waits. Return after how many seconds to come again, where the exchange has cut it short."""
        if self._distrusted:
            return None
        try:
            return self._submit_once()
        finally:
            self.check_found()  # costs as much time as all before the orders: now nothing waits for it

    def _submit_once(self) -> float | None:
        context = self._authorise()
        self._rests.clear()
        try:
            report = submit_orders(context)
        except LeaseLostError:
            raise
        except TradingAssetsError as error:
            self._log.warn_once("no order was sent, signals wait", {"submit": error})
            return STOPPED_AGAIN_S
        finally:
            self._rests.set()
        self._waiting_timer.restart()
        stats = self._log.stats
        stats.executed += len(report.executed)
        stats.rejected += len(report.rejected)
        stats.refused += len(report.refused)
        if report.executed or report.unknown or report.recovered or report.resting:
            self._log.say(
                f"{len(report.executed)} orders executed, {len(report.rejected)} rejected, {len(report.refused)} "
                f"waiting, {len(report.resting)} wait at their price, {len(report.unknown)} with unknown outcome, "
                f"{report.recovered} recovered"
            )
        if report.stopped:
            self._log.say_once(f"signals wait: {report.stopped}", is_warning=True)
        return STOPPED_AGAIN_S if report.stopped else None
