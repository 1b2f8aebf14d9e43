"""The exchange, the ledger and the session of one fault of `chaos faults`, kept alive while something breaks.

What breaks is in `breakdowns`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from trading_assets.chaos import signal_counts
from trading_assets.chaos.installation import Service, free_port, own_environment, strays
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.own_postgres import OwnPostgres
from trading_assets.chaos.session_process import IS_TRADING, SessionProcess, first_coins, select_coins, start_session
from trading_assets.chaos.signal_source import give_signal
from trading_assets.chaos.trial_settings import OPEN_GATES
from trading_assets.core.configuration import PREFIX
from trading_assets.core.errors import ExchangeUnavailableError, TradingAssetsError
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, local_ms
from trading_assets.defs.instance.workers.launcher import forget
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import seed_registry
from trading_assets.simulator.launcher import health
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.lease import trader_of
from trading_assets.trading.session.registry import living
from trading_assets.venues import open_exchange

DEPOSIT = Decimal(1_000_000)
COINS, BATCH = 9, 3
RESTART_AFTER_S = 1.0
BEGINS_WITHIN_S, ENDS_WITHIN_S = 300.0, 330.0
LOOK_EVERY_S = 0.25
SESSION_ENDS_WITHIN_S = 60.0
COMPARISONS = 3
CODE = "trading_assets.definitions"
BROKER = "amqp://guest:guest@127.0.0.1:5672//"
"""RabbitMQ's of this machine, as its package comes."""

MEMORY_BYTES = 1024**3
DISK_MB = 96
"""Of the small file system on which the home is, where a disk is to be full."""

POSTGRESQL, SMALL_DISK, SMALL_MEMORY = "postgresql", "small disk", "small memory"
DAGSTER, WORKERS = "dagster", "workers"


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
            "small memory" for a session that may use 1 GB, "dagster" for a session that is a run of Dagster, "workers"
            for one that is a task of a Celery worker.
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
        if fault.needs == SMALL_DISK:
            _mounted(self.home, stack)
        self.postgres: OwnPostgres | None = None
        own: dict[str, object] = {"limits_dir": folder / "limits", "home": self.home}
        if fault.needs == POSTGRESQL:
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
        self.environment = {**os.environ, f"{PREFIX}SIMULATOR_URL": self.url}
        for name, value in {**own, **OPEN_GATES}.items():
            self.environment[f"{PREFIX}{name.upper()}"] = str(value)
        self.database = Database(self.settings.resolved_database_url)
        stack.callback(self.database.close)
        seed_registry(self.database)
        self.exchange: Exchange = open_exchange(self.settings)
        stack.callback(self.exchange.close)
        self._coins = first_coins(self.exchange, COINS, self.settings)
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
            lambda: not self._count(signals.ACTIVE, signals.EXECUTING),
            ENDS_WITHIN_S,
            f"the first signals wait; see {self.folder}",
        )
        if (first := signal_counts.by_status(self.database)) != {signals.EXECUTED: BATCH}:
            raise ExchangeUnavailableError(f"{BATCH} orders were expected, found {first}; see {self.folder}")
        self._give(1)
        began = time.monotonic()
        with self.fault.act(self):
            until = time.monotonic() + self.fault.seconds
            while time.monotonic() < until:
                self.look()
        report.seconds = round(time.monotonic() - began, 1)
        mended = time.monotonic()
        before = self._entries()
        given: bool = False
        deadline = mended + ENDS_WITHIN_S
        while time.monotonic() < deadline:
            self.look()
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

    def kill_session(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        """Tell the session's process to end in this way, and return it; it is started again."""
        assert self.session is not None
        process = self.session.process
        process.send_signal(number)
        return process

    def ends(self, process: subprocess.Popen[bytes]) -> bool:
        """Look at the positions until a process has ended. Return whether it has, in time."""
        deadline = time.monotonic() + SESSION_ENDS_WITHIN_S
        while process.poll() is None and time.monotonic() < deadline:
            self.look()
        return process.poll() is not None

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
                    prefix = _limited(MEMORY_BYTES) if self.fault.needs == SMALL_MEMORY else ()
                    self.session = start_session(self.folder, self.environment, prefix)
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

    def look(self) -> None:
        """Every position has its stop at the exchange, whatever is broken here."""
        with contextlib.suppress(TradingAssetsError):
            held = self.exchange.positions()
            self.report.looks += 1
            self.report.unprotected += sum(each.stop_loss is None for each in held)
        time.sleep(LOOK_EVERY_S)

    def _count(self, *statuses: str) -> int:
        return signal_counts.with_status(self.database, *statuses)

    def _entries(self) -> int | None:
        with contextlib.suppress(TradingAssetsError):
            return len({row.order_link_id for row in signal_counts.entry_fills(self.exchange, self._began_ms)})
        return None


class DagsterStage(Stage):
    """The session is a run of a Dagster that has two sensors on; daemon and web server are started again."""

    def _prepare(self, stack: ExitStack) -> None:
        own: dict[str, object] = {
            name.removeprefix(PREFIX): value for name, value in self.environment.items() if name.startswith(PREFIX)
        }
        folder = self.folder / "installation"
        folder.mkdir()
        own |= {"AUTOMATION": "off", "MAX_SYMBOLS": 3, **self._more_settings()}
        stack.enter_context(own_environment(folder, own, self._more_sections()))
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
            **self._more_services(),
        }
        for service in self.services.values():
            service.start()

    def _more_settings(self) -> dict[str, object]:
        return {}

    def _more_sections(self) -> str:
        """Of `dagster.yaml`."""
        return ""

    def _more_services(self) -> dict[str, Service]:
        return {}

    def session_run(self) -> psutil.Process:
        """The process of the run that the session is."""
        for one in living():
            if one.home == str(self.home):
                return psutil.Process(one.pid)
        raise ExchangeUnavailableError(f"no session lives; see {self.folder}")

    def signal_to(self, name: str, number: signal.Signals) -> list[psutil.Process]:
        """Send a signal to the daemon, the web server, the daemon's code server or the session's run, and return that
        process."""
        if name == "run":
            found = [self.session_run()]
        elif name == "code-server":
            main = psutil.Process(self._pid("daemon"))
            found = [one for one in main.children(recursive=True) if " api grpc " in f"{' '.join(one.cmdline())} "]
            if not found:
                raise ExchangeUnavailableError(f"the daemon has no code server; see {self.folder}")
        else:
            found = [psutil.Process(self._pid(name))]
        for process in found:
            process.send_signal(number)
        return found

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


def comes_true(done: Callable[[], object], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _wait(done: Callable[[], object], within_s: float, why: str) -> None:
    if not comes_true(done, within_s):
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


class WorkersStage(DagsterStage):
    """Runs are tasks of two Celery workers for trading, with queues of their own on the RabbitMQ of this machine."""

    def _more_settings(self) -> dict[str, object]:
        return {"BROKER_URL": BROKER}

    def _more_sections(self) -> str:
        return (
            "\nrun_launcher:\n  module: trading_assets.defs.instance.workers.launcher\n  class: WorkersRunLauncher\n"
            f"  config:\n    broker:\n      env: {PREFIX}BROKER_URL\n    namespace: {self._namespace}\n"
        )

    def _more_services(self) -> dict[str, Service]:
        celery = [sys.executable, "-m", "celery", "-A", "trading_assets.celery_app:trading", "worker", "-c", "2"]
        names = ("worker-1", "worker-2")
        return {
            name: Service(name, [*celery, "-n", f"{name}@{self._namespace}"], self.folder / f"{name}.log")
            for name in names
        }

    @property
    def _namespace(self) -> str:
        return self.folder.name

    def kill_worker(self) -> None:
        """The worker that the session lives in, and all below it, end as by a power cut; it is not started again."""
        above = {one.pid for one in self.session_run().parents()}
        for name, service in list(self.services.items()):
            if service.process is not None and service.process.pid in above:
                del self.services[name]
                service.kill(with_children=True)
                return
        raise ExchangeUnavailableError(f"the session lives in no worker; see {self.folder}")

    def _stop(self) -> None:
        super()._stop()
        forget(BROKER, self._namespace)
