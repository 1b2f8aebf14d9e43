"""A whole installation to be measured: embedded exchange, ledger with a selection, and Dagster's real daemon."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import requests

from trading_assets.chaos.installation import READY_WITHIN_S, free_port, own_environment
from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError
from trading_assets.core.models import ContractKind
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, floor_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.ledger.strategies import seed_registry
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running, health
from trading_assets.trading.decide.sizing import Size, size_position
from trading_assets.venues import open_exchange

SENSOR = "trade_when_candles_close"
COMMAND_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30

START_MS = 1_772_427_640_000
"""2026-03-02 05:00:40 UTC: where the market of a measurement begins."""


@dataclass(frozen=True)
class Harness:
    """A running installation. `daemon` is Dagster's, with the code server and the runs as its children."""

    settings: Settings
    database: Database
    exchange: Exchange
    daemon: psutil.Process
    exchange_process: psutil.Process
    speed: float

    def daemon_cpu_s(self) -> float:
        """Processor time of the daemon, the code server and every run so far."""
        total = 0.0
        for process in [self.daemon, *self.daemon.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


@contextlib.contextmanager
def serving(
    folder: Path, values: Mapping[str, object], *, speed: float, limits: bool = False, more_sections: str = ""
) -> Iterator[tuple[Settings, str]]:
    """An exchange of its own, and the settings to use it with, for this process and its children; with its URL.

    Args:
        speed: seconds of market for each second.
        limits: it refuses who asks more often than Bybit allows, and whoever uses it counts requests as for Bybit.
        more_sections: of `dagster.yaml`.

    Raises:
        ExchangeUnavailableError: it does not start.
    """
    values = {**values, "LIMITS_DIR": folder / "limits"}
    port = free_port() if limits else 0
    if limits:
        values["SIMULATOR_URL"] = f"http://127.0.0.1:{port}"
    with own_environment(folder, values, more_sections):
        settings = load_settings()
        served: subprocess.Popen[bytes] | None = None
        if limits:
            served = _serve(folder, settings, port, speed)
            url = str(settings.simulator_url).rstrip("/")
        else:
            url = ensure_running(settings, clock=ClockSpec(ClockMode.ACCELERATED, START_MS, speed))
        try:
            yield settings, url
        finally:
            requests.post(f"{url}/admin/stop", timeout=10)
            if served is not None:
                served.wait(STOP_TIMEOUT_S)


def _serve(folder: Path, settings: Settings, port: int, speed: float) -> subprocess.Popen[bytes]:
    home = settings.simulator_home
    home.mkdir(parents=True)
    command = [sys.executable, "-m", "trading_assets.simulator", "--home", str(home), "--port", str(port), "--limits"]
    command += ["--seed", str(settings.simulator_seed), "--symbols", str(settings.simulator_symbols)]
    command += ["--deposit", str(settings.simulator_deposit)]
    command += ["--clock", "accelerated", "--start-ms", str(START_MS), "--speed", str(speed)]
    log = folder / "exchange.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    deadline = time.monotonic() + READY_WITHIN_S
    while health(f"http://127.0.0.1:{port}", timeout_s=2.0) is None:
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            raise ExchangeUnavailableError(f"the embedded exchange does not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
    return process


def delay_requests(url: str, delay_ms: int) -> None:
    """Have each request of the API answered so much later, as a venue far away would."""
    rule = {"where": "/v5/*", "latency_ms": delay_ms}
    requests.post(f"{url}/admin/faults", json=rule, timeout=10).raise_for_status()


@contextlib.contextmanager
def installed(
    *,
    symbols: int,
    timeframe: Timeframe,
    strategy: str,
    parameters: str,
    mode: str,
    speed: float,
    run_launcher: str = "",
    notify_url: str = "",
    delay_ms: int = 0,
    limits: bool = False,
) -> Iterator[Harness]:
    """An installation of its own in a temporary directory, with `symbols` coins selected and the trade sensor on.

    Args:
        speed: seconds of market for each second.
        run_launcher: a section of `dagster.yaml`; by default a run is a process of its own.
        notify_url: of a channel to people; without one messages stay in the ledger.
        delay_ms: added to each request.
        limits: see `serving`.

    Raises:
        ExchangeUnavailableError: the exchange or the daemon does not start.
        ConfigurationError: the market has too few coins.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        serving(
            Path(folder),
            measured_settings(mode, notify_url, symbols),
            speed=speed,
            limits=limits,
            more_sections=run_launcher,
        ) as (settings, url),
    ):
        exchange_process = psutil.Process(int(requests.get(f"{url}/admin/health", timeout=10).json()["pid"]))
        database, exchange = Database.of(settings), open_exchange(settings)
        select(database, exchange, settings, [parameters] * symbols, timeframe, strategy)
        if delay_ms:
            delay_requests(url, delay_ms)
        with _daemon(Path(folder)) as daemon:
            yield Harness(settings, database, exchange, daemon, exchange_process, speed)
        database.close()


def measured_settings(mode: str, notify_url: str = "", symbols: int = 50) -> dict[str, object]:
    """Settings of the measurement: nothing holds an order back. The market has some more than so many coins."""
    return {
        "TRADE_MODE": mode,
        "AUTOMATION": "off",
        "SIMULATOR_DEPOSIT": 1_000_000,
        "SIMULATOR_SYMBOLS": max(60, round(symbols * 1.2) + 10),
        "MAX_POSITIONS": 100,
        "MIN_SIGNAL_INTERVAL_S": 0,
        "MAX_SELECTION_AGE_S": 10**6,
        "MAX_PRICE_DEVIATION_PCT": 5,
        "MAX_SPREAD_PCT": 1,
        "COOLDOWN_AFTER_STOP_S": 0,
        "PAUSE_AFTER_STOPS_S": 0,
        "WEAK_SYMBOL_HOURS": 0,
        **({"NOTIFY_URLS": json.dumps([notify_url])} if notify_url else {}),
    }


def select(
    database: Database,
    exchange: Exchange,
    settings: Settings,
    parameters: Sequence[str],
    timeframe: Timeframe,
    strategy: str,
) -> list[str]:
    """Put a selection into the ledger: a coin for each of the parameters. Return the coins.

    Raises:
        ConfigurationError: the market has too few coins.
    """
    hour = floor_ms(exchange.now_ms(), HOUR_MS) - HOUR_MS
    tickers = exchange.tickers()
    coins = [
        one.symbol
        for one in exchange.instruments()
        if one.settle_coin == "USDT"
        and one.kind is ContractKind.PERPETUAL
        and one.symbol in tickers
        and isinstance(size_position(one, tickers[one.symbol].last, settings), Size)
    ][: len(parameters)]
    if len(coins) < len(parameters):
        raise ConfigurationError(f"the market has {len(coins)} coins that can be sized, expected {len(parameters)}")
    rows = [
        selection_row(hour, coin, timeframe.value, strategy=strategy, parameters=given)
        for coin, given in zip(coins, parameters, strict=True)
    ]
    replace_partitions(database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour])
    seed_registry(database)  # Dagster's code location does it, but not every measurement has one
    return coins


@contextlib.contextmanager
def _daemon(folder: Path) -> Iterator[psutil.Process]:
    dagster = [sys.executable, "-m", "dagster"]
    target = ["-m", "trading_assets.definitions"]
    subprocess.run(
        [*dagster, "sensor", "start", SENSOR, *target],
        cwd=folder,
        check=True,
        timeout=COMMAND_TIMEOUT_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = folder / "daemon.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dagster-daemon"), "run", *target],
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid)
        if process.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
            raise ExchangeUnavailableError(f"Dagster's daemon ended with code {process.returncode}:\n{tail}")
    finally:
        end_family(process, signal.SIGTERM)
        time.sleep(0.2)


def end_family(process: subprocess.Popen[bytes], asked_by: signal.Signals) -> None:
    """Ask a process to end, and kill what is left of it and of those below it."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(asked_by)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.kill()
    process.wait()
