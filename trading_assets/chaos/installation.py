"""A whole installation in a directory of its own: embedded exchange, Dagster's daemon, and who restarts them.

Both are processes of the machine that may be killed at any moment; `supervise` does what systemd does: it starts again
what has ended. What they do, their own code decides.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

import trading_assets
from trading_assets.core.configuration import trial
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.simulator.launcher import health

RESTART_AFTER_S = 1.0
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 20.0


@contextlib.contextmanager
def own_environment(
    folder: Path, values: Mapping[str, object], more_sections: str = "", *, history_url: str | None = None
) -> Iterator[None]:
    """Settings of a trial alone, and a Dagster instance, in `folder`: in this process, which works there, and its
    children.

    Args:
        values: settings by name, without prefix; `HOME` is `folder` unless given.
        more_sections: of `dagster.yaml`, behind those of the checkout's.
        history_url: PostgreSQL database of Dagster's storage, with the configuration for it; None is the local one.
    """
    directory = Path.cwd()
    with trial(folder, values):
        dagster_home = folder / "dagster"
        dagster_home.mkdir()
        checkout = Path(trading_assets.__file__).resolve().parents[1]
        template = checkout / ("dagster.yaml" if history_url is None else "deploy/dagster.yaml")
        (dagster_home / "dagster.yaml").write_text(template.read_text() + more_sections)
        if history_url is not None:
            os.environ["DAGSTER_POSTGRES_URL"] = history_url
        os.environ["DAGSTER_HOME"] = str(dagster_home)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(directory)


class Runs(Protocol):
    """What the scheduler knows of its runs; `pid_of` is None for one whose process is gone."""

    def pid_of(self, run_id: str) -> int | None: ...
    def live_pids(self, *jobs: str) -> list[int]: ...
    def succeeded_partitions(self, job: str) -> set[str]: ...
    def counts(self) -> dict[str, dict[str, int]]: ...
    def failures(self) -> dict[str, int]: ...
    def events(self) -> int: ...
    def materialisations(self) -> int: ...
    def inconsistencies(self) -> list[str]: ...
    def close(self) -> None: ...


@dataclass
class Service:
    """A process that is started again when it has ended."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _ended_at: float | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, start_new_session=True)
        self.starts += 1
        self._ended_at = None

    def supervise(self) -> None:
        """Start it again `RESTART_AFTER_S` after its end."""
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at = now
        elif now - self._ended_at >= RESTART_AFTER_S:
            self.start()

    def kill(self, *, with_children: bool) -> bool:
        """SIGKILL; False when it is not running."""
        if self.process is None or self.process.poll() is not None:
            return False
        family = psutil.Process(self.process.pid).children(recursive=True) if with_children else []
        self.process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait(STOP_WITHIN_S)
        return True

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left after a while."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill(with_children=True)


@dataclass
class Installation:
    """The services of one trial, with the settings that they run on."""

    folder: Path
    settings: Settings
    url: str
    exchange: Service
    daemon: Service

    def supervise(self) -> None:
        for service in (self.exchange, self.daemon):
            service.supervise()

    def exchange_answers(self) -> bool:
        return health(self.url, timeout_s=2.0) is not None

    def wait_for_exchange(self) -> None:
        """
        Raises:
            ExchangeUnavailableError: it does not answer.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.exchange_answers():
            if time.monotonic() > deadline:
                raise ExchangeUnavailableError(f"the embedded exchange does not answer; see {self.exchange.log}")
            time.sleep(0.1)

    def slow_down(self) -> None:
        """The market goes on at the pace of the clock on the wall: nothing moves much while books are compared."""
        self.exchange.stop()
        self.exchange.command = [*self.exchange.command, "--speed", "1"]
        self.exchange.start()
        self.wait_for_exchange()

    def stop_all(self) -> None:
        """End every process of this installation, also those whose parents were killed."""
        self.daemon.stop()
        for process in self.strays():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.exchange.stop()

    def strays(self) -> list[psutil.Process]:
        """Processes that live with this installation's Dagster home."""
        return [one for one in strays(os.environ["DAGSTER_HOME"]) if one.pid != self._exchange_pid()]

    def _exchange_pid(self) -> int | None:
        return self.exchange.process.pid if self.exchange.process is not None else None


@contextlib.contextmanager
def installed(
    folder: Path, values: Mapping[str, object], *, start_ms: int, speed: float, history_url: str | None = None
) -> Iterator[Installation]:
    """An installation whose market begins at `start_ms` (UTC ms) and runs `speed` times as fast as the clock.

    The exchange runs; the daemon is the caller's to start, after what two would create at once is there.

    Raises:
        ExchangeUnavailableError: the exchange does not start.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    values = {**values, "SIMULATOR_URL": url, "LIMITS_DIR": folder / "limits"}
    with own_environment(folder, values, history_url=history_url):
        settings = load_settings()
        home = settings.simulator_home
        home.mkdir(parents=True)
        serve = [sys.executable, "-m", "trading_assets.simulator", "--home", str(home), "--port", str(port), "--limits"]
        serve += ["--seed", str(settings.simulator_seed), "--symbols", str(settings.simulator_symbols)]
        serve += ["--deposit", str(settings.simulator_deposit)]
        serve += ["--clock", "accelerated", "--start-ms", str(start_ms), "--speed", str(speed)]
        daemon = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "trading_assets.definitions"]
        one = Installation(
            folder,
            settings,
            url,
            Service("exchange", serve, folder / "exchange.log"),
            Service("daemon", daemon, folder / "daemon.log"),
        )
        try:
            one.exchange.start()
            one.wait_for_exchange()
            yield one
        finally:
            one.stop_all()


def strays(dagster_home: str) -> list[psutil.Process]:
    """Processes that live with a Dagster home, this one apart."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.pid != os.getpid() and process.environ().get("DAGSTER_HOME") == dagster_home:
                found.append(process)
    return found


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
