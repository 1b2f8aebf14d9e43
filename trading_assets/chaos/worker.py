"""One life of a trading process: started by a fork, killed by itself at a step of the saga or from outside.

What it does between its start and its death is what a trading process does: compare the books, trade, follow the exit
plans, look after the grids and DCA plans.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from trading_assets.chaos.faults import TIMEOUT_MS
from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.models import OrderAck, OrderRequest
from trading_assets.core.settings import Settings
from trading_assets.core.streams import Up
from trading_assets.core.timeframes import local_ms
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.market.store import CandleStore
from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.maintain import maintain as maintain_plans
from trading_assets.trading.execute.exit_plans import follow_exit_plans
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.keeper import Keeper
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.ahead import ReadAhead

HASTE = 0.04
"""Pauses are so much shorter than in earnest."""

RECV_WINDOW_MS = 1500
"""Of a trader that sleeps: what it has signed before is refused when it wakes, `ASLEEP_S` later. In earnest it sleeps
for longer than any window."""

ASLEEP_S = 2.0
LONGEST_LIFE_S = 60.0
_POLL_S = 0.001


@dataclass(frozen=True)
class WorkerPlan:
    """How a worker lives.

    Attributes:
        dies_at: an edge of a step, as "before create", at which it kills itself; None: not by itself.
        killed_after_s: it is killed from outside after so long; None: it is not.
        loses_stops: the exchange does not attach the stops of its entries.
        compares_first: it begins as a session does; else as a run of the trade job, which compares what is open.
        keeps_grids_first, keeps_plans_first: it looks after grids, or DCA plans, before it trades.
        sets_ahead: leverages are set before the signals are looked at, so that orders go by one request.
        patient: it waits for answers as in earnest: it meets no faults, and its machine may be busy.
        sleeps_at: an edge of a step at which it is stopped (SIGSTOP), as by a machine that sleeps.
        sleeps_ms: its clock is so much farther on when it wakes.
    """

    dies_at: str | None = None
    killed_after_s: float | None = None
    loses_stops: bool = False
    compares_first: bool = False
    keeps_grids_first: bool = False
    keeps_plans_first: bool = False
    sets_ahead: bool = False
    patient: bool = False
    sleeps_at: str | None = None
    sleeps_ms: int = 0


@dataclass(frozen=True)
class WorkerSite:
    """Where workers trade, and the file in which one that breaks says why.

    Workers inherit `database` with its statements compiled and without a connection: each opens its own.
    """

    settings: Settings
    exchange_url: str
    log: Path
    database: Database

    def warm(self) -> None:
        """Live once in this process, so that no worker has to compile what they all use."""
        database = self.database
        for act in (reconcile, *self.acts(WorkerPlan())):
            act(ExecutionContext(database=database, exchange=connect(self), settings=self.settings))
        database.close()

    def acts(self, life: WorkerPlan) -> list[Callable[[ExecutionContext], object]]:
        """What a trader does, in its order: a session, or the trade job of one that compares what is open."""
        keep = [submit_orders, self.follow, maintain, maintain_plans]
        if life.keeps_grids_first:
            keep = [maintain, maintain_plans, submit_orders, self.follow]
        if life.keeps_plans_first:
            keep = [maintain_plans, maintain, submit_orders, self.follow]
        return [*([reconcile] if life.compares_first else []), *keep, reconcile]

    def follow(self, context: ExecutionContext) -> object:
        """Ask the exit plans of what is open."""
        return follow_exit_plans(context, CandleStore(self.settings.home / "candles"))


class StopLosingExchange(BybitExchange):
    """An exchange that takes an entry and forgets its stops."""

    def place_order(self, request: OrderRequest) -> OrderAck:
        return super().place_order(_bare(request))

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        ours = self.order_ids.is_entry
        return super().place_orders([_bare(one) if ours(one.order_link_id) else one for one in requests])


def _bare(request: OrderRequest) -> OrderRequest:
    return replace(request, stop_loss=None, take_profit=None)


def connect(
    place: WorkerSite, *, loses_stops: bool = False, patient: bool = True, sleeps: bool = False
) -> BybitExchange:
    """A connector, with little patience where it meets faults."""
    kind = StopLosingExchange if loses_stops else BybitExchange
    connection = Connection(
        url=place.exchange_url,
        keys=ApiKeys(SecretStr(DEFAULT_API_KEY), SecretStr(DEFAULT_API_SECRET)),
        timeout_s=place.settings.request_timeout_s if patient else TIMEOUT_MS / 1000,
        recv_window_ms=RECV_WINDOW_MS if sleeps else place.settings.recv_window_ms,
    )
    return kind(Transport(connection, limited=False, sleep=_hurry), virtual_clock=True)


class WorkerBrokeError(TradingAssetsError):
    """A worker ended by an error of its own, or not at all."""


def run_worker(place: WorkerSite, life: WorkerPlan, ahead_ms: int) -> bool:
    """Fork a worker, wait for its end and say whether it was killed.

    Args:
        ahead_ms: its clock is so far ahead, so that what an earlier life left counts as old.

    Raises:
        WorkerBrokeError: it broke, or did not come to an end.
    """
    return Worker(place, life, ahead_ms).wait()


class Worker:
    """A forked trader. It is waited for until it ends, or until it sleeps where its plan says so."""

    def __init__(self, place: WorkerSite, life: WorkerPlan, ahead_ms: int) -> None:
        self._site, self._life = place, life
        self._started = time.monotonic()
        self.sleeps = False
        self._pid = os.fork()
        if self._pid == 0:
            os._exit(_work(place, life, ahead_ms))

    def wake(self) -> None:
        """Let it go on."""
        self.sleeps = False
        self._started = time.monotonic()
        os.kill(self._pid, signal.SIGCONT)

    def wait(self) -> bool:
        """Wait until it ends or sleeps; whether it was killed.

        Raises:
            WorkerBrokeError: it broke, or did not come to an end.
        """
        killed_after_s = self._life.killed_after_s
        killed_at = self._started + killed_after_s if killed_after_s is not None else None
        while True:
            done, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if done:
                break
            now = time.monotonic()
            if now > self._started + LONGEST_LIFE_S:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                raise WorkerBrokeError(f"a worker did not come to an end in {LONGEST_LIFE_S:.0f} s: {self._life}")
            if killed_at is not None and now >= killed_at:
                os.kill(self._pid, signal.SIGKILL)
                killed_at = None
            time.sleep(_POLL_S)
        if os.WIFSTOPPED(status):
            self.sleeps = True
            return False
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status) == signal.SIGKILL
        if os.WEXITSTATUS(status) != 0:
            raise WorkerBrokeError(f"a worker broke: {self._site.log.read_text()}")
        return False


def _work(place: WorkerSite, life: WorkerPlan, ahead_ms: int) -> int:
    slept = [0]
    try:
        context = ExecutionContext(
            database=place.database,
            exchange=connect(
                place, loses_stops=life.loses_stops, patient=life.patient, sleeps=life.sleeps_at is not None
            ),
            settings=place.settings,
            sleep=_hurry,
            wall_ms=lambda: local_ms() + ahead_ms + slept[0],
            at=_fate(life, slept),
        )
        if life.sleeps_at is not None:
            # Asleep in the middle of a transaction of another lane it would keep everybody out of the ledger.
            context = replace(context, workers=1)
        acts = place.acts(life)
        if life.sets_ahead:
            context, acts = replace(context, keeper=_listening()), [_set_ahead, *acts]
        for act in acts:
            _try(act, context)
    except BaseException:  # noqa: BLE001 (the parent raises it again)
        place.log.write_text(traceback.format_exc())
        return 1
    return 0


def _listening() -> Keeper:
    """What was read ahead, of a stream that is heard and tells nothing."""
    keeper = Keeper(time.monotonic)
    keeper.hear(Up(()))
    return keeper


def _set_ahead(context: ExecutionContext) -> object:
    """Set the leverages of the coins whose signals wait."""
    if context.keeper is None:
        raise AssertionError("leverages are kept by a keeper")
    rows = signals.active(context.database, context.settings.account)
    return ReadAhead(context.keeper, lambda: context, lambda: [str(row["symbol"]) for row in rows]).set_leverages()


def _try(act: Callable[[ExecutionContext], object], context: ExecutionContext) -> None:
    """What a sensor does with a run that fails: the next one comes."""
    try:
        act(context)
    except TradingAssetsError:
        return


def _fate(life: WorkerPlan, slept: list[int]) -> Callable[[str], None]:
    def at(point: str) -> None:
        if point == life.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if point == life.sleeps_at and not slept[0]:
            slept[0] = life.sleeps_ms
            os.kill(os.getpid(), signal.SIGSTOP)

    return at


def _hurry(seconds: float) -> None:
    time.sleep(seconds * HASTE)
