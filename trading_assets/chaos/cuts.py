"""`trading-assets chaos cuts`: the link between a session and its exchange is cut, before, while and after orders are
sent.

Exchange and session live in network namespaces of their own; the driver sits beside the exchange, so it sees the
account throughout. Forty coins have a signal at once.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from trading_assets.chaos import signal_counts
from trading_assets.chaos.faults import FaultInjector
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.link import EXCHANGE_ADDRESS, Link, inside
from trading_assets.chaos.session_process import (
    IS_BACK,
    IS_DOWN,
    IS_TRADING,
    SessionProcess,
    first_coins,
    select_coins,
    start_session,
)
from trading_assets.chaos.signal_source import give_signal
from trading_assets.chaos.trial_settings import OPEN_GATES
from trading_assets.core.configuration import trial
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.models import Instrument, Ticker
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import PREFIX, Settings
from trading_assets.core.timeframes import HOUR_MS, local_ms
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry
from trading_assets.simulator.launcher import health
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange

KINDS = ("silent", "refused")
SECONDS = (10, 120)
MOMENTS = ("before", "during", "after")
COINS = 40
DEPOSIT = Decimal(1_000_000)
TOLD_WITHIN_S, AGAIN_WITHIN_S = 15.0, 5.0
SLOWEST_ANSWER_MS = 1500
"""Up to here the time to the first order is judged: two answers lie before it."""

BEGINS_WITHIN_S, ENDS_WITHIN_S = 300.0, 330.0
LOOK_EVERY_S = 0.5
PORT = 8765
COMPARISONS = 3


@dataclass(frozen=True)
class Cut:
    """One cut.

    Attributes:
        kind: of `KINDS`.
        seconds: it lasts so long.
        moment: the signals come while it lasts ("before" any order), it begins while they are sent ("during"), or half
            of them have become positions when it begins and the other half comes while it lasts ("after").
        answer_ms: every answer of the exchange takes so much longer.
    """

    kind: str
    seconds: int
    moment: str
    answer_ms: int = 0

    def __str__(self) -> str:
        slow = f", answers after {self.answer_ms} ms" if self.answer_ms else ""
        return f"{self.kind}, {self.seconds} s, {self.moment}{slow}"


ALL = tuple(Cut(*one) for one in itertools.product(KINDS, SECONDS, MOMENTS))


@dataclass
class CutReport:
    """What became of a cut.

    Attributes:
        statuses: of the signals, at the end.
        in_doubt: signals whose order was on the wire when it was cut, and never reached the exchange. Such an order is
            not sent a second time.
        lost: other signals that did not become an order although they were alive.
        told_s: from the cut to the line that says so; None: nothing was told.
        back_s: from the whole link to the line that says so; None: nothing was told.
        again_s: from the whole link to the first entry; None: there was nothing to enter.
        last_s: from the whole link to the last entry.
        bare: positions that were seen without a stop at the exchange.
        broken: what ledger and exchange do not agree on at the end, and what came too late.
    """

    cut: str
    statuses: dict[str, int] = field(default_factory=dict)
    in_doubt: int = 0
    lost: int = 0
    told_s: float | None = None
    back_s: float | None = None
    again_s: float | None = None
    last_s: float | None = None
    bare: int = 0
    looks: int = 0
    broken: list[str] = field(default_factory=list)


def run_cuts(cuts: Sequence[Cut], tell: Callable[[str], None], *, jobs: int = 1, seed: int = 1) -> list[CutReport]:
    """Try each cut, on an exchange and a session of its own.

    Args:
        jobs: so many are tried at once.
        tell: takes a line of progress.

    Raises:
        ConfigurationError: network namespaces cannot be made here.
        ExchangeUnavailableError: an exchange or a session does not begin.
    """

    def attempt(cut: Cut) -> CutReport:
        report = _try(cut, tell, seed)
        tell(f"{cut}: told after {report.told_s} s, again after {report.again_s} s, {report.lost} lost")
        return report

    with (
        tempfile.TemporaryDirectory(prefix="trading-assets-cuts-") as folder,
        trial(Path(folder)),
        ThreadPoolExecutor(jobs) as pool,
    ):
        return list(pool.map(attempt, cuts))


def _try(cut: Cut, tell: Callable[[str], None], seed: int) -> CutReport:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="trading-assets-cut-"))
        link = stack.enter_context(Link())
        stack.enter_context(inside(link.exchange))
        report = _Trial(cut, link, folder, seed, stack, tell).run()
    if not report.broken:
        shutil.rmtree(folder, ignore_errors=True)
    return report


class _Trial:
    """One cut, from an empty account to the comparison of ledger and exchange."""

    def __init__(
        self, cut: Cut, link: Link, folder: Path, seed: int, stack: ExitStack, tell: Callable[[str], None]
    ) -> None:
        self._cut, self._link, self._tell = cut, link, tell
        self._report = CutReport(str(cut))
        self._chance = random.Random(seed)
        self._url = f"http://127.0.0.1:{PORT}"
        serve = [sys.executable, "-m", "trading_assets.simulator", "--home", str(folder / "exchange")]
        serve += ["--host", "0.0.0.0", "--port", str(PORT), "--deposit", str(DEPOSIT), "--seed", str(seed)]
        (folder / "exchange").mkdir()
        with (folder / "exchange.log").open("ab") as log:
            served = subprocess.Popen(serve, stdout=log, stderr=log)
        stack.callback(end_process, served)
        wait_for(lambda: health(self._url, timeout_s=2.0), 60.0, f"the exchange does not answer; see {folder}")
        self._settings = Settings(
            _env_file=None, home=folder, limits_dir=folder / "limits", simulator_url=self._url, **OPEN_GATES
        )
        self._database = Database(self._settings.resolved_database_url)
        stack.callback(self._database.close)
        seed_registry(self._database)
        self._exchange: Exchange = open_exchange(self._settings)
        stack.callback(self._exchange.close)
        self._coins = first_coins(self._exchange, COINS, self._settings)
        select_coins(self._database, self._exchange.now_ms(), [one.symbol for one in self._coins], "60m")
        self._began_ms = self._exchange.now_ms() - HOUR_MS
        self._session = self._start(folder)
        stack.callback(self._session.stop)

    def _start(self, folder: Path) -> SessionProcess:
        names = {"home": folder, "limits_dir": folder / "limits", **OPEN_GATES}
        names["simulator_url"] = f"http://{EXCHANGE_ADDRESS}:{PORT}"
        own = {f"{PREFIX}{name.upper()}": str(value) for name, value in names.items()}
        return start_session(folder, {**os.environ, **own}, ["ip", "netns", "exec", self._link.trader])

    def run(self) -> CutReport:
        """Cut, heal, and wait for what becomes of the signals."""
        cut, report = self._cut, self._report
        wait_for(lambda: self._session.says(IS_TRADING), BEGINS_WITHIN_S, f"no session begins: {self._session.lines()}")
        faults, market = FaultInjector(self._url), _Market(self._exchange)
        if cut.answer_ms:
            faults.arm([{"where": "/v5/*", "latency_ms": cut.answer_ms, "processed": True}])
        first = {"before": 0, "during": COINS, "after": COINS // 2}[cut.moment]
        self._give(market, self._coins[:first])
        if cut.moment == "during":
            wait_for(self._entries, 120.0, "no order was sent")
        elif cut.moment == "after":
            wait_for(
                lambda: self._count(signals.EXECUTED) >= first,
                ENDS_WITHIN_S,
                "the first half was not sent",
            )
        self._link.cut(cut.kind)
        began, began_ms = time.monotonic(), local_ms()
        self._tell(f"{cut}: cut")
        time.sleep(2.0)
        self._give(market, self._coins[first:])
        while time.monotonic() < began + cut.seconds:
            self._look()
        self._link.heal()
        healed_ms = local_ms()
        deadline = time.monotonic() + ENDS_WITHIN_S
        while self._count(signals.ACTIVE, signals.EXECUTING) and time.monotonic() < deadline:
            self._look()
        faults.lift()
        report.told_s = self._after(IS_DOWN, began_ms)
        report.back_s = self._after(IS_BACK, healed_ms)
        entered = [at_ms for at_ms in self._entries() if at_ms >= healed_ms]
        report.again_s = round((min(entered) - healed_ms) / 1000, 1) if entered else None
        report.last_s = round((max(entered) - healed_ms) / 1000, 1) if entered else None
        report.statuses = signal_counts.by_status(self._database)
        report.in_doubt = signal_counts.in_doubt(self._database) if cut.moment == "during" else 0
        report.lost = sum(report.statuses.values()) - report.statuses.get(signals.EXECUTED, 0) - report.in_doubt
        self._session.stop()
        self._judge()
        return report

    def _after(self, words: str, since_ms: int) -> float | None:
        line = self._session.says(words, since_ms)
        return round((line.wall_ms - since_ms) / 1000, 1) if line is not None else None

    def _judge(self) -> None:
        report, cut = self._report, self._cut
        if report.lost:
            report.broken.append(f"{report.lost} signals are lost: {report.statuses}")
        if report.bare:
            report.broken.append(f"{report.bare} times a position was without a stop")
        if cut.seconds > TOLD_WITHIN_S and (report.told_s is None or report.told_s > TOLD_WITHIN_S):
            report.broken.append(f"it was told after {report.told_s} s")
        is_due = cut.moment != "during" and cut.answer_ms <= SLOWEST_ANSWER_MS
        if is_due and (report.again_s is None or report.again_s > AGAIN_WITHIN_S):
            report.broken.append(f"it traded again after {report.again_s} s")
        found = None
        for _ in range(COMPARISONS):
            reconcile(ExecutionContext(self._database, self._exchange, self._settings))
            account, deposit = self._settings.account, DEPOSIT
            found = compare_all(self._database, self._exchange, account, self._began_ms, deposit)
            if not found.broken:
                break  # else a stop may have been reached meanwhile
        report.broken += found.broken if found is not None else []

    def _give(self, market: _Market, coins: Sequence[Instrument]) -> None:
        for one in coins:
            give_signal(self._database, market, one, self._settings, self._chance)

    def _look(self) -> None:
        """Every position has its stop at the exchange, whoever is cut off from it."""
        self._report.looks += 1
        self._report.bare += sum(each.stop_loss is None for each in self._exchange.positions())
        time.sleep(LOOK_EVERY_S)

    def _count(self, *statuses: str) -> int:
        return signal_counts.with_status(self._database, *statuses)

    def _entries(self) -> list[int]:
        """When entries were filled, ms of the exchange, whose clock is this machine's."""
        return [row.time_ms for row in signal_counts.entry_fills(self._exchange, self._began_ms)]


class _Market:
    """Prices of one moment, so that many signals are given at once while answers are slow."""

    def __init__(self, exchange: Exchange) -> None:
        self._tickers: Mapping[str, Ticker] = exchange.tickers()

    def now_ms(self) -> int:
        return local_ms()

    def ticker(self, symbol: str) -> Ticker:
        return self._tickers[symbol]


def wait_for(done: Callable[[], object], within_s: float, why: str) -> None:
    """Wait until it is done.

    Raises:
        ExchangeUnavailableError: it was not within that time; `why` says what is wrong then.
    """
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            raise ExchangeUnavailableError(f"{why} (waited {within_s:.0f} s)")
        time.sleep(0.1)


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End it, by force where it does not end by itself."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
