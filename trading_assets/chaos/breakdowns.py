"""`trading-assets chaos faults`: database, disk, clock, memory and processes break while a session trades.

Each fault has an exchange, a ledger and a session of its own. Some coins have become positions when it begins, some are
being entered, and some get their signal when it is over. The driver starts again what has ended, as systemd and the
sensors do, and sees the exchange throughout.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import sqlalchemy as sa

from trading_assets.chaos.next_version import REVISION, SAYS, make_next_version, run_command
from trading_assets.chaos.session_process import CLOCK_FILE, IS_TRADING
from trading_assets.chaos.stages import (
    DAGSTER,
    POSTGRESQL,
    SMALL_DISK,
    SMALL_MEMORY,
    WORKERS,
    DagsterStage,
    Fault,
    FaultReport,
    Stage,
    WorkersStage,
    comes_true,
)
from trading_assets.core.configuration import trial
from trading_assets.ledger.database import with_driver

UI_WITHIN_S = 120.0
TRADES_WITHIN_S = 120.0
LOOKS_BETWEEN = 8
"""At the positions, while the old version trades on a ledger that the next one has migrated."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


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
    stage.kill_session(signal.SIGTERM).wait(90)
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
        if not stage.ends(stage.kill_session(number)):
            stage.report.broken.append(f"the session did not end after {number.name}")
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
        told = stage.signal_to(name, number)
        if name == "run":
            psutil.wait_procs(told, timeout=UI_WITHIN_S)
        yield
        # Dagster's code server, told to end, waits for calls in progress as long as its grace allows.
        if name != "code-server" and any(
            process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in told
        ):
            stage.report.broken.append(f"the {name} did not end after {number.name}")
        if not comes_true(stage.ui_answers, UI_WITHIN_S):
            stage.report.broken.append(f"the UI did not answer again within {UI_WITHIN_S:.0f} s")

    return act


@contextlib.contextmanager
def _worker_lost(stage: Stage) -> Iterator[None]:
    assert isinstance(stage, WorkersStage)
    stage.kill_worker()
    yield


@contextlib.contextmanager
def _released(stage: Stage) -> Iterator[None]:
    """The next version migrates the ledger while the old one trades, then takes its place."""
    _release_next_version(stage)
    yield


@contextlib.contextmanager
def _taken_back(stage: Stage) -> Iterator[None]:
    """A release that is taken back once the next version has traded: the old one trades on the newer schema."""
    before = dict(stage.environment)
    _release_next_version(stage)
    _replace_session(stage, before)
    session = stage.session
    if session is None or session.says(SAYS) is None:
        stage.report.broken.append("the session that traded was not of the next version")
    yield


def _release_next_version(stage: Stage) -> None:
    old = dict(stage.environment)
    new = {**old, **make_next_version(stage.folder / "next")}
    run_command(new, "ledger", "upgrade")
    said = run_command(old, "ledger", "revision") + run_command(old, "signals")  # the old one opens it anew
    if REVISION not in said:
        stage.report.broken.append(f"the ledger was not migrated: {said}")
    for _ in range(LOOKS_BETWEEN):
        stage.look()
    _replace_session(stage, new)


def _replace_session(stage: Stage, environment: Mapping[str, str]) -> None:
    """The session is told to end, and another version begins in its place, as ECS does it."""
    assert stage.session is not None
    before = sum(IS_TRADING in line.text for line in stage.session.lines())
    stage.environment.clear()
    stage.environment.update(environment)
    if not stage.ends(stage.kill_session(signal.SIGTERM)):
        stage.report.broken.append("the session did not end when it was told to")

    def trades() -> bool:
        stage.look()
        return stage.session is not None and sum(IS_TRADING in line.text for line in stage.session.lines()) > before

    if not comes_true(trades, TRADES_WITHIN_S):
        stage.report.broken.append(f"the other version did not trade within {TRADES_WITHIN_S:.0f} s")


@contextlib.contextmanager
def _nothing(_stage: Stage) -> Iterator[None]:
    yield


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
        *(Fault(f"run-{number.name.lower()}", 0, _service("run", number), DAGSTER) for number in SIGNALS),
        Fault("worker-lost", 0, _worker_lost, WORKERS),
        Fault("release", 0, _released),
        Fault("release-taken-back", 0, _taken_back),
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
    with (
        _heeding_interrupts(),
        tempfile.TemporaryDirectory(prefix="trading-assets-faults-") as own,
        trial(Path(own)),
    ):
        for name in names:
            tell(f"{name} ...")
            report = _try(FAULTS[name], seed)
            tell(f"{name}: {report.statuses}, again after {report.again_s} s, {len(report.broken)} broken")
            reports.append(report)
    return reports


@contextlib.contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """A shell lets what it starts in the background ignore SIGINT, and children inherit that: then no trial of it is
    one."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _try(fault: Fault, seed: int) -> FaultReport:
    folder = Path(tempfile.mkdtemp(prefix="trading-assets-fault-"))
    folder.chmod(0o711)  # PostgreSQL is another user, and has its own directory in it
    with ExitStack() as stack:
        kinds = {DAGSTER: DagsterStage, WORKERS: WorkersStage}
        report = kinds.get(fault.needs, Stage)(fault, folder, stack, seed).run()
    if not report.broken:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        report.broken.append(f"its files are in {folder}")
    return report
