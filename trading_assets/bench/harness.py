"""A whole installation to be measured: embedded exchange, ledger with a selection, and Dagster's real daemon."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import requests

from trading_assets.chaos.installation import own_environment
from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError
from trading_assets.core.models import ContractKind
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, floor_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.launcher import ensure_running
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
) -> Iterator[Harness]:
    """An installation of its own in a temporary directory, with `symbols` coins selected and the trade sensor on.

    Args:
        speed: seconds of market for each second.
        run_launcher: a section of `dagster.yaml`; by default a run is a process of its own.
        notify_url: of a channel to people; without one messages stay in the ledger.

    Raises:
        ExchangeUnavailableError: the exchange or the daemon does not start.
        ConfigurationError: the market has too few coins.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        own_environment(Path(folder), _settings(mode, notify_url), run_launcher),
    ):
        settings = load_settings()
        url = ensure_running(settings, clock=ClockSpec(ClockMode.ACCELERATED, START_MS, speed))
        try:
            exchange_process = psutil.Process(int(requests.get(f"{url}/admin/health", timeout=10).json()["pid"]))
            database, exchange = Database(settings.resolved_database_url), open_exchange(settings)
            _select(database, exchange, settings, symbols, timeframe, strategy, parameters)
            with _daemon(Path(folder)) as daemon:
                yield Harness(settings, database, exchange, daemon, exchange_process, speed)
            database.close()
        finally:
            requests.post(f"{url}/admin/stop", timeout=10)


def _settings(mode: str, notify_url: str) -> dict[str, object]:
    """Settings of the measurement: nothing holds an order back."""
    return {
        "TRADE_MODE": mode,
        "AUTOMATION": "off",
        "SIMULATOR_DEPOSIT": 1_000_000,
        "SIMULATOR_SYMBOLS": 60,
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


def _select(
    database: Database,
    exchange: Exchange,
    settings: Settings,
    symbols: int,
    timeframe: Timeframe,
    strategy: str,
    parameters: str,
) -> None:
    hour = floor_ms(exchange.now_ms(), HOUR_MS) - HOUR_MS
    tickers = exchange.tickers()
    coins = [
        one.symbol
        for one in exchange.instruments()
        if one.settle_coin == "USDT"
        and one.kind is ContractKind.PERPETUAL
        and isinstance(size_position(one, tickers[one.symbol].last, settings), Size)
    ][:symbols]
    if len(coins) < symbols:
        raise ConfigurationError(f"the market has {len(coins)} coins that can be sized, expected {symbols}")
    rows = [selection_row(hour, coin, timeframe.value, strategy=strategy, parameters=parameters) for coin in coins]
    replace_partitions(database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour])


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
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        time.sleep(0.2)
