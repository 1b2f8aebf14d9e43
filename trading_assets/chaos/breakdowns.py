"""`trading-assets chaos faults`: database, disk, clock, memory and processes break while a session trades.

Each fault has an exchange, a ledger and a session of its own. Some coins have become positions when it begins, some are
being entered, and some get their signal when it is over. The driver starts again what has ended, as systemd and the
sensors do, and sees the exchange throughout.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import sqlalchemy as sa

from trading_assets.chaos import signal_counts
from trading_assets.chaos.installation import Service, free_port, own_environment, strays
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.orders import OPEN_GATES
from trading_assets.chaos.own_postgres import OwnPostgres
from trading_assets.chaos.session_process import CLOCK_FILE, IS_TRADING, SessionProcess, select_coins, start_session
from trading_assets.chaos.signal_source import give_signal
from trading_assets.core.configuration import PREFIX, trial
from trading_assets.core.errors import ExchangeUnavailableError, TradingAssetsError
from trading_assets.core.models import ContractKind, ContractStatus, Instrument
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, local_ms
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database, with_driver
from trading_assets.ledger.strategies import seed_registry
from trading_assets.simulator.launcher import health
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.lease import trader_of
from trading_assets.venues import open_exchange

DEPOSIT = Decimal(1_000_000)
COINS, BATCH = 9, 3
RESTART_AFTER_S = 1.0
BEGINS_WITHIN_S, ENDS_WITHIN_S = 300.0, 330.0
LOOK_EVERY_S = 0.25
COMPARISONS = 3
UI_WITHIN_S = 120.0
CODE = "trading_assets.definitions"
MEMORY_BYTES = 1024**3
DISK_MB = 96
"""Of the small file system on which the home is, where a disk is to be full."""


@dataclass
class FaultReport:
    """What became of a fault.

    Attributes:
        seconds: it lasted so long.
        statuses: of the signals, at the end.
        in_doubt: signals whose order was on the wire and never reached the exchange; not sent a second time.
        lost: other signals that did not become an order although they were alive.
        doubled: findings of orders that were sent twice, or are larger than signalled.
        unprotected: looks at which a position had no stop at the exchange.
        again_s: from the end of the fault to the first entry.
        starts: of the session.
        broken: what ledger and exchange do not agree on at the end, and every law that does not hold.
    """

    fault: str
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    in_doubt: int = 0
    lost: int = 0
    doubled: int = 0
    unprotected: int = 0
    looks: int = 0
    again_s: float | None = None
    starts: int = 0
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One way to break.

    Attributes:
        act: breaks and mends; what it yields inside lasts `seconds`.
        needs: "postgresql" for a ledger on a server of its own, "small disk" for a home on a file system of its own,
            "small memory" for a session that may use 1 GB, "dagster" for a session that is a run of Dagster.
    """

    name: str
    seconds: float
    act: Callable[[Stage], contextlib.AbstractContextManager[None]]
    needs: str = ""


class Stage:
    """The exchange, the ledger and the session of one fault."""

    def __init__(self, fault: Fault, folder: Path, stack: ExitStack, seed: int) -> None:
        self.fault, self.folder, self.report = fault, folder, FaultReport(fault.name)
        self._chance = random.Random(seed)
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        if fault.needs == "small disk":
            _mounted(self.home, stack)
        self.postgres: OwnPostgres | None = None
        own: dict[str, object] = {"limits_dir": folder / "limits", "home": self.home}
        if fault.needs == "postgresql":
            self.postgres = OwnPostgres(folder / "postgres")
            stack.callback(self.postgres.stop)
            own["database_url"] = self.postgres.url
        self._serve = [sys.executable, "-m", "trading_assets.simulator", "--home", str(folder / "exchange")]
        self._serve += ["--deposit", str(DEPOSIT), "--seed", str(seed), "--symbols", "12", "--port"]
        (folder / "exchange").mkdir()
        self.exchange_process: subprocess.Popen[bytes] | None = None
        stack.callback(lambda: _end(self.exchange_process))
        self._port = 0
        self.start_exchange()
        self.settings = Settings(_env_file=None, simulator_url=self.url, **own, **OPEN_GATES)  # type: ignore[arg-type]
        self._environment = {**os.environ, f"{PREFIX}SIMULATOR_URL": self.url}
        for name, value in {**own, **OPEN_GATES}.items():
            self._environment[f"{PREFIX}{name.upper()}"] = str(value)
        self.database = Database(self.settings.resolved_database_url)
        stack.callback(self.database.close)
        seed_registry(self.database)
        self.exchange: Exchange = open_exchange(self.settings)
        stack.callback(self.exchange.close)
        self._coins = _coins(self.exchange)
        select_coins(self.database, self.exchange.now_ms(), [one.symbol for one in self._coins], "60m")
        self._began_ms = self.exchange.now_ms() - HOUR_MS
        self.session: SessionProcess | None = None
        self.held = False
        """Nothing is started again while it is true."""
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._prepare(stack)
        self._keeper.start()
        stack.callback(self._stop)

    def _prepare(self, stack: ExitStack) -> None:
        """What must be there before the keeper begins."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start_exchange(self) -> None:
        """Start it, where it was."""
        with (self.folder / "exchange.log").open("ab") as log:
            self.exchange_process = subprocess.Popen([*self._serve, str(self._port)], stdout=log, stderr=log)
        info = self.folder / "exchange" / "server.json"

        def answers() -> bool:
            if not self._port and info.exists():
                with contextlib.suppress(ValueError, KeyError):
                    self._port = int(json.loads(info.read_text())["url"].rpartition(":")[2])
            return bool(self._port) and health(self.url, timeout_s=2.0) is not None

        _wait(answers, 90.0, f"the exchange does not answer; see {self.folder}")

    def run(self) -> FaultReport:
        """Trade, break, mend, trade, and compare."""
        report = self.report
        _wait(self._trades, BEGINS_WITHIN_S, f"no session begins; see {self.folder}")
        self._give(0)
        _wait(
            lambda: self._count(signals.EXECUTED) == BATCH,
            ENDS_WITHIN_S,
            f"nothing is entered; see {self.folder}",
        )
        self._give(1)
        began = time.monotonic()
        with self.fault.act(self):
            until = time.monotonic() + self.fault.seconds
            while time.monotonic() < until:
                self._look()
        report.seconds = round(time.monotonic() - began, 1)
        mended = time.monotonic()
        before = self._entries()
        given: bool = False
        deadline = mended + ENDS_WITHIN_S
        while time.monotonic() < deadline:
            self._look()
            with contextlib.suppress(TradingAssetsError):
                if not given:
                    self._give(2)
                    given = True
                if report.again_s is None and (entries := self._entries()) is not None and before is not None:
                    if entries > before:
                        report.again_s = round(time.monotonic() - mended, 1)
                elif before is None:
                    before = self._entries()
                if given and not self._count(signals.ACTIVE, signals.EXECUTING):
                    break
        self._stop()
        report.statuses = signal_counts.by_status(self.database)
        report.in_doubt = signal_counts.in_doubt(self.database)
        alive = sum(report.statuses.values())
        report.lost = alive - report.statuses.get(signals.EXECUTED, 0) - report.in_doubt
        self._judge()
        return report

    def kill_session(self, number: signal.Signals) -> None:
        """End the session's process in this way; it is started again."""
        if self.session is not None:
            self.session.process.send_signal(number)

    def _judge(self) -> None:
        report = self.report
        if report.lost:
            report.broken.append(f"{report.lost} signals are lost: {report.statuses}")
        if report.unprotected:
            report.broken.append(f"{report.unprotected} times a position was without a stop")
        if report.again_s is None:
            report.broken.append("it did not trade again")
        found = None
        for _ in range(COMPARISONS):
            reconcile(ExecutionContext(self.database, self.exchange, self.settings))
            found = compare_all(self.database, self.exchange, self.settings.account, self._began_ms, DEPOSIT)
            if not found.broken:
                break  # else a stop may have been reached meanwhile
        if found is not None:
            report.doubled = len(found.duplicates)
            report.broken += found.broken

    def _keep(self) -> None:
        """Start the session again when it has ended, as the sensor does."""
        while not self._ended.is_set():
            if not self.held and (self.session is None or self.session.process.poll() is not None):
                if self.session is not None:
                    self._ended.wait(RESTART_AFTER_S)
                if not self._ended.is_set() and not self.held:
                    prefix = _limited(MEMORY_BYTES) if self.fault.needs == "small memory" else ()
                    self.session = start_session(self.folder, self._environment, prefix)
                    self.report.starts += 1
            self._ended.wait(0.1)

    def _trades(self) -> bool:
        return self.session is not None and self.session.says(IS_TRADING) is not None

    def _stop(self) -> None:
        self._ended.set()
        self._keeper.join()
        if self.session is not None and self.session.process.poll() is None:
            self.session.stop()

    def _give(self, batch: int) -> None:
        for one in self._coins[batch * BATCH : (batch + 1) * BATCH]:
            give_signal(self.database, self.exchange, one, self.settings, self._chance)

    def _look(self) -> None:
        """Every position has its stop at the exchange, whatever is broken here."""
        with contextlib.suppress(TradingAssetsError):
            held = self.exchange.positions()
            self.report.looks += 1
            self.report.unprotected += sum(each.stop_loss is None for each in held)
        time.sleep(LOOK_EVERY_S)

    def _count(self, *statuses: str) -> int:
        return signal_counts.with_status(self.database, *statuses)

    def _entries(self) -> int | None:
        ids, now_ms = self.exchange.order_ids, 0
        with contextlib.suppress(TradingAssetsError):
            now_ms = self.exchange.now_ms()
            rows = self.exchange.executions(self._began_ms, now_ms + 1)
            return len({row.order_link_id for row in rows if ids.is_entry(row.order_link_id)})
        return None


class DagsterStage(Stage):
    """The session is a run of a Dagster that has two sensors on; daemon and web server are started again."""

    def _prepare(self, stack: ExitStack) -> None:
        own = {name.removeprefix(PREFIX): value for name, value in self._environment.items() if name.startswith(PREFIX)}
        folder = self.folder / "installation"
        folder.mkdir()
        stack.enter_context(own_environment(folder, {**own, "AUTOMATION": "off", "MAX_SYMBOLS": 3}))
        programs = Path(sys.executable)
        for sensor in ("trade_when_candles_close", "reconcile_books"):
            switch: list[str | Path] = [programs.with_name("dagster"), "sensor", "start", sensor, "-m", CODE]
            subprocess.run(switch, check=True, capture_output=True)
        self._web_port = free_port()
        web = [str(programs.with_name("trading-assets")), "web", "-m", CODE, "-p", str(self._web_port)]
        daemon = [str(programs.with_name("dagster-daemon")), "run", "-m", CODE]
        self.services = {
            "daemon": Service("daemon", daemon, self.folder / "daemon.log"),
            "webserver": Service("webserver", web, self.folder / "web.log"),
        }
        for service in self.services.values():
            service.start()

    def signal_to(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the daemon, the web server, or the daemon's code server; to that process alone."""
        if name == "code-server":
            main = psutil.Process(self._pid("daemon"))
            found = [one for one in main.children(recursive=True) if " api grpc " in f"{' '.join(one.cmdline())} "]
            if not found:
                raise ExchangeUnavailableError(f"the daemon has no code server; see {self.folder}")
            for process in found:
                process.send_signal(number)
            return
        os.kill(self._pid(name), number)

    def ui_answers(self) -> bool:
        """Whether the web server does."""
        connection = HTTPConnection("127.0.0.1", self._web_port, timeout=5)
        try:
            connection.request("GET", "/server_info")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _pid(self, name: str) -> int:
        process = self.services[name].process
        assert process is not None
        return process.pid

    def _keep(self) -> None:
        while not self._ended.wait(0.2):
            for service in self.services.values():
                service.supervise()

    def _trades(self) -> bool:
        return trader_of(self.database, self.settings.account, wall_ms=local_ms()) is not None and self.ui_answers()

    def _stop(self) -> None:
        super()._stop()
        self.report.starts = max(service.starts for service in self.services.values())
        for service in self.services.values():
            service.stop()
        for process in strays(os.environ["DAGSTER_HOME"]):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


# What breaks, and how it is mended


@contextlib.contextmanager
def _postgres_killed(stage: Stage) -> Iterator[None]:
    assert stage.postgres is not None
    stage.postgres.kill()
    yield
    stage.postgres.start()


@contextlib.contextmanager
def _postgres_silent(stage: Stage) -> Iterator[None]:
    assert stage.postgres is not None
    stage.postgres.freeze()
    yield
    stage.postgres.thaw()


@contextlib.contextmanager
def _no_connection_left(stage: Stage) -> Iterator[None]:
    """Others take every connection, and the session loses its own."""
    assert stage.postgres is not None
    hogs = list[sa.Connection]()
    engine = sa.create_engine(with_driver(stage.postgres.url, "url"), poolclass=sa.pool.NullPool)
    stage.postgres.administer(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'trader'",
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            hogs.append(engine.connect())
        except sa.exc.OperationalError:
            break
    yield
    for hog in hogs:
        hog.close()


@contextlib.contextmanager
def _disk_full(stage: Stage) -> Iterator[None]:
    filler = stage.home / "filler"
    with filler.open("wb") as out:
        try:
            while True:
                out.write(b"\0" * 65536)
                out.flush()
        except OSError:
            pass
        with contextlib.suppress(OSError):
            out.close()
    yield
    filler.unlink()


@contextlib.contextmanager
def _read_only(stage: Stage) -> Iterator[None]:
    """The session is stopped, and finds that it cannot write when it is started again."""
    stage.held = True
    stage.kill_session(signal.SIGTERM)
    if stage.session is not None:
        stage.session.process.wait(90)
    stage.database.close()
    subprocess.run(["mount", "-o", "remount,ro", str(stage.home)], check=True)
    stage.held = False
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(stage.home)], check=True)


def _clock(shift_s: int) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """The machine's clock jumps, as the session sees it, and jumps back."""

    @contextlib.contextmanager
    def act(stage: Stage) -> Iterator[None]:
        file = stage.folder / CLOCK_FILE
        file.write_text(str(shift_s))
        yield
        file.write_text("0")

    return act


def _session(number: signal.Signals) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def act(stage: Stage) -> Iterator[None]:
        stage.kill_session(number)
        yield

    return act


def _exchange(number: signal.Signals) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def act(stage: Stage) -> Iterator[None]:
        assert stage.exchange_process is not None
        stage.exchange_process.send_signal(number)
        stage.exchange_process.wait(60)
        yield
        stage.start_exchange()

    return act


def _service(name: str, number: signal.Signals) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def act(stage: Stage) -> Iterator[None]:
        assert isinstance(stage, DagsterStage)
        stage.signal_to(name, number)
        yield
        if not _comes(stage.ui_answers, UI_WITHIN_S):
            stage.report.broken.append(f"the UI did not answer again within {UI_WITHIN_S:.0f} s")

    return act


@contextlib.contextmanager
def _nothing(_stage: Stage) -> Iterator[None]:
    yield


POSTGRESQL, SMALL_DISK, SMALL_MEMORY, DAGSTER = "postgresql", "small disk", "small memory", "dagster"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)

FAULTS: Mapping[str, Fault] = {
    one.name: one
    for one in (
        Fault("postgres-killed", 10, _postgres_killed, POSTGRESQL),
        Fault("postgres-silent", 40, _postgres_silent, POSTGRESQL),
        Fault("pool-exhausted", 20, _no_connection_left, POSTGRESQL),
        Fault("disk-full", 20, _disk_full, SMALL_DISK),
        Fault("home-read-only", 20, _read_only, SMALL_DISK),
        Fault("clock-ahead", 20, _clock(600)),
        Fault("clock-behind", 20, _clock(-600)),
        *(Fault(f"session-{number.name.lower()}", 0, _session(number)) for number in SIGNALS),
        *(Fault(f"exchange-{number.name.lower()}", 5, _exchange(number)) for number in SIGNALS),
        *(
            Fault(f"{name}-{number.name.lower()}", 20, _service(name, number), DAGSTER)
            for name in ("daemon", "code-server", "webserver")
            for number in SIGNALS
        ),
        Fault("memory-1gb", 20, _nothing, SMALL_MEMORY),
    )
}


def run_faults(names: Sequence[str], tell: Callable[[str], None], *, jobs: int = 1, seed: int = 1) -> list[FaultReport]:
    """Try each fault, one after the other.

    Args:
        names: of `FAULTS`.
        tell: takes a line of progress.

    Raises:
        ConfigurationError: a program that a fault needs is not there.
        ExchangeUnavailableError: an exchange or a session does not begin.
    """
    reports = []
    with tempfile.TemporaryDirectory(prefix="trading-assets-faults-") as own, trial(Path(own)):
        for name in names:
            tell(f"{name} ...")
            report = _try(FAULTS[name], seed)
            tell(f"{name}: {report.statuses}, again after {report.again_s} s, {len(report.broken)} broken")
            reports.append(report)
    return reports


def _try(fault: Fault, seed: int) -> FaultReport:
    folder = Path(tempfile.mkdtemp(prefix="trading-assets-fault-"))
    folder.chmod(0o711)  # PostgreSQL is another user, and has its own directory in it
    with ExitStack() as stack:
        kind = DagsterStage if fault.needs == DAGSTER else Stage
        report = kind(fault, folder, stack, seed).run()
    if not report.broken:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        report.broken.append(f"its files are in {folder}")
    return report


def _mounted(home: Path, stack: ExitStack) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(home)], check=True)
    stack.callback(lambda: subprocess.run(["umount", "-l", str(home)], check=False))


def _limited(limit: int) -> list[str]:
    """A command that runs another one in a group that may use so many bytes of memory; where there are no groups, with
    so much data."""
    group = Path("/sys/fs/cgroup/memory/trading-assets-faults")
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        return ["prlimit", f"--data={limit}", "--"]
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]


def _coins(exchange: Exchange) -> list[Instrument]:
    rows = [
        row
        for row in exchange.instruments()
        if row.kind is ContractKind.PERPETUAL and row.status is ContractStatus.TRADING and row.settle_coin == "USDT"
    ]
    if len(rows) < COINS:
        raise ExchangeUnavailableError(f"the embedded exchange has {len(rows)} coins that trade, expected {COINS}")
    return sorted(rows, key=lambda row: row.symbol)[:COINS]


def _comes(done: Callable[[], object], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _wait(done: Callable[[], object], within_s: float, why: str) -> None:
    if not _comes(done, within_s):
        raise ExchangeUnavailableError(f"{why} (waited {within_s:.0f} s)")


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    with contextlib.suppress(psutil.Error):
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
