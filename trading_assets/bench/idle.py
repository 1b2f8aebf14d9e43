"""`trading-assets bench idle`: what an hour of trading without a signal costs, process by process.

Everything that `make dev` starts runs, with the schedules and sensors that are on from the start, and a session on the
coins. Nobody looks at a page. The minutes about a full hour are left out: the hourly research is work, and no idleness.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.table import Table

from trading_assets.bench.harness import end_family, measured_settings, select, serving
from trading_assets.chaos.installation import free_port
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.timeframes import HOUR_MS, Timeframe, floor_ms
from trading_assets.ledger.database import Database
from trading_assets.trading.session.lease import trader_of
from trading_assets.venues import open_exchange

QUIET = ('{"band": 0.999, "base_confidence": 0}', Timeframe.M5, "fibonacci_bollinger")
"""Parameters, timeframe and strategy that need candles of five timeframes and funding, and hardly ever enter."""

BEGIN_WITHIN_S = 240.0
SETTLE_S = 60.0
"""After the session's start: what was imported and filled once is no part of an hour."""

HOUR_S = 3600
AFTER_THE_HOUR_S = 60
POLL_S = 0.5

SESSION, EXCHANGE, RUNS, OTHERS = "session", "embedded exchange", "runs that ended", "others"
_ROLES = (
    ("dagster_webserver", "web server"),
    ("dagster._daemon", "daemon"),
    ("code-server start", "code server's proxy"),
    ("api grpc", "code server"),
    ("dagster dev", "dagster dev"),
    ("serve --dashboard", "serve"),
)


@dataclass(frozen=True)
class Part:
    """Processes of one role.

    Attributes:
        cpu_s: processor seconds of an hour.
        memory_mb: at the end, a shared page counted in parts in each process that has it.
    """

    role: str
    processes: int
    cpu_s: float
    memory_mb: float


@dataclass(frozen=True)
class IdleHour:
    """An idle hour, from `measured_s` seconds of it.

    Attributes:
        cpu_s: of all parts but the embedded exchange, which is there only where no real one is traded on.
        runs, ticks: of Dagster while it was measured, by job and by schedule or sensor.
        load: of the machine, averaged over a minute, at the end.
    """

    symbols: int
    measured_s: float
    cpu_s: float
    memory_mb: float
    parts: tuple[Part, ...]
    runs: Mapping[str, int]
    ticks: Mapping[str, int]
    load: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Seen:
    """A process: processor seconds of itself, and of its children that ended."""

    role: str
    own_s: float
    ended_s: float
    memory_mb: float


Look = Mapping[tuple[int, float], Seen]
"""What was seen at one moment, by process id and start."""


def measure_idle(symbols: int, seconds: float, say: Callable[[str], None]) -> IdleHour:
    """Let an installation of its own trade on so many coins, which give no signal.

    Raises:
        ExchangeUnavailableError: a part does not start, or ends.
        ConfigurationError: the market has too few coins.
    """
    # Only now: it opens the Dagster instance of the environment.
    from trading_assets.defs.run_history import RunHistory  # noqa: PLC0415

    _wait_for_room(seconds + BEGIN_WITHIN_S + SETTLE_S, say)
    settings = {**measured_settings("session", symbols=symbols), "AUTOMATION": "on", "DASHBOARD_PORT": free_port()}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        serving(Path(name), settings, speed=1.0) as (own, url),
    ):
        say("starting all that make dev starts")
        exchange_process = psutil.Process(int(requests.get(f"{url}/admin/health", timeout=10).json()["pid"]))
        database, exchange, history = Database.of(own), open_exchange(own), RunHistory()
        parameters, timeframe, strategy = QUIET
        select(database, exchange, own, [parameters] * symbols, timeframe, strategy)
        # Else the newest hour would be researched at the start.
        history.note_selected(floor_ms(exchange.now_ms(), HOUR_MS) - HOUR_MS)
        with _started(Path(name)) as roots:
            account = own.account
            _wait_until(lambda: trader_of(database, account, wall_ms=time.time_ns() // 1_000_000) is not None, roots)
            say(f"a session trades; measuring in {SETTLE_S:.0f} s for {seconds:.0f} s")
            time.sleep(SETTLE_S)
            trading = set(history.live_pids("trade"))

            def look() -> dict[tuple[int, float], Seen]:
                return _look(roots, exchange_process, trading)

            before, runs, ticks, began = look(), history.counts(), history.ticks(), time.monotonic()
            time.sleep(seconds)
            took_s, after = time.monotonic() - began, look()
            if not trading & set(history.live_pids("trade")):
                raise ExchangeUnavailableError("the session ended while it was measured")
            counted = _added(_runs_by_job(runs), _runs_by_job(history.counts())), _added(ticks, history.ticks())
            load = psutil.getloadavg()[0]
        history.close()
        database.close()
    parts = parts_of(before, after, took_s)
    ours = [one for one in parts if one.role != EXCHANGE]
    total, memory = sum(one.cpu_s for one in ours), sum(one.memory_mb for one in ours)
    return IdleHour(symbols, round(took_s, 1), round(total, 1), round(memory), parts, *counted, round(load, 1))


def parts_of(before: Look, after: Look, took_s: float) -> tuple[Part, ...]:
    """What each role takes in an hour, the most expensive first."""
    spent: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    number: Counter[str] = Counter()
    for key, seen in after.items():
        old = before.get(key)
        spent[seen.role] += seen.own_s - (old.own_s if old is not None else 0.0)
        spent[RUNS] += seen.ended_s - (old.ended_s if old is not None else 0.0)
        memory[seen.role] += seen.memory_mb
        number[seen.role] += 1
    # Of a process that has ended its parent knows the whole time.
    spent[RUNS] -= sum(seen.own_s for key, seen in before.items() if key not in after)
    parts = (
        Part(role, number[role], round(max(cpu, 0.0) / took_s * HOUR_S, 1), round(memory[role], 1))
        for role, cpu in spent.items()
    )
    return tuple(sorted(parts, key=lambda part: -part.cpu_s))


def role_of(command: Sequence[str]) -> str:
    """What a process is there for, by its command line."""
    words = " ".join(command)
    return next((role for sign, role in _ROLES if sign in words), OTHERS)


def table(found: IdleHour) -> Table:
    """For a person."""
    shown = Table("process", "number", "CPU s an hour", "MB", title=f"{found.cpu_s:g} s, the embedded exchange apart")
    for part in found.parts:
        shown.add_row(part.role, str(part.processes), f"{part.cpu_s:g}", f"{part.memory_mb:g}")
    return shown


def _wait_for_room(seconds: float, say: Callable[[str], None]) -> None:
    """Until no full hour comes within so many seconds."""
    left = HOUR_S - time.time() % HOUR_S
    if left < seconds:
        say(f"a full hour comes in {left:.0f} s, which is no idle one: waiting until it is over")
        time.sleep(left + AFTER_THE_HOUR_S)


def _wait_until(is_so: Callable[[], bool], roots: Sequence[psutil.Process]) -> None:
    deadline = time.monotonic() + BEGIN_WITHIN_S
    while not is_so():
        if time.monotonic() > deadline or not all(map(_lives, roots)):
            raise ExchangeUnavailableError(f"no session traded within {BEGIN_WITHIN_S:.0f} s after the start")
        time.sleep(POLL_S)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[list[psutil.Process]]:
    """`dagster dev` and `trading-assets serve --dashboard`, as `make dev` starts them."""
    # Only now: it loads Dagster.
    from trading_assets.defs.instance.asking import WITHOUT_PROXY_VARIABLE  # noqa: PLC0415

    dagster = [sys.executable, "-m", "dagster", "dev", "--port", str(free_port())]
    commands = {
        "dagster": [*dagster, "-m", "trading_assets.definitions"],
        "serve": [sys.executable, "-m", "trading_assets.cli.main", "serve", "--dashboard"],
    }
    started, environment = [], {**os.environ, WITHOUT_PROXY_VARIABLE: "1"}
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
                    )
                )
        yield [psutil.Process(one.pid) for one in started]
    finally:
        for one in started:
            end_family(one, signal.SIGINT)


def _look(
    roots: Sequence[psutil.Process], exchange: psutil.Process, trading: set[int]
) -> dict[tuple[int, float], Seen]:
    found = {}
    for process in [exchange, *(one for root in roots for one in (root, *root.children(recursive=True)))]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            role = EXCHANGE if process == exchange else SESSION if process.pid in trading else None
            times, memory = process.cpu_times(), process.memory_full_info()
            found[process.pid, process.create_time()] = Seen(
                role or role_of(process.cmdline()),
                times.user + times.system,
                times.children_user + times.children_system,
                getattr(memory, "pss", memory.rss) / 1e6,
            )
    return found


def _runs_by_job(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {job: sum(by_status.values()) for job, by_status in counts.items()}


def _added(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: number - before.get(name, 0) for name, number in after.items() if number > before.get(name, 0)}
