"""`trading-assets bench home`: how large the home gets in a month of minute-by-minute operation.

What each run, tick, row and candle takes is measured with the real jobs; how many of them there are at once follows
from the schedules and the retention settings. The sum is a bound: every minute has its reconciliation, as if a
position were open all the time, and the daily job has not run yet.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from trading_assets.bench.measurement import measured_environment, run_measured, standing_exchange
from trading_assets.bench.research import END_MS
from trading_assets.core.settings import Settings, load_settings

DAYS = 30
_SECONDS_AFTER = 20
_LONGEST_S = 1800

SENSOR_TICKS_A_DAY = 86_400 // 10 + 86_400 // 10 + 86_400 // 20 + 86_400 // 30
"""Trade and reconcile look every ten seconds, research every twenty, failed runs every thirty."""

SCHEDULE_TICKS_A_DAY = 1440 + 24 + 2
TICKS_KEPT_DAYS = {"sensor": 1, "schedule": 2, "launches": 7}
"""As `retention` of dagster.yaml says; a launch is a tick that started a run."""

SESSION_RUNS = 4
"""Assumed, not measured: an hour's session, with its observations and finds, takes what so many single looks do."""

COINS_TURN_OVER = 3.0
"""Assumed: so many times the coins of one hour are scanned at some hour of a month, and held until they are old."""

SELECTIONS_BYTES_A_DAY = 24 * 30 * (300 + 900)
"""Kept for good: 24 hours of at most 30 rows, and of their backtests."""

SEALED_BYTES_A_DAY = 1_210_000
"""Measured by `bench backfill`: the file of a day's backtests of 30 coins."""


@dataclass(frozen=True)
class Part:
    """One part of the home after a month: how many, bytes of each."""

    what: str
    count: float
    each: float

    @property
    def bytes(self) -> float:
        return self.count * self.each


def month(measured: dict[str, float], settings: Settings) -> list[Part]:
    """The parts of the home at their largest within a month, just before the daily job."""

    def kept(days: float | None) -> float:
        return DAYS if days is None else min(days + 1, DAYS)

    research, trading = kept(settings.keep_research_runs_days), kept(settings.keep_trading_runs_days)
    launches = 1440 + 48
    ticks = (
        SENSOR_TICKS_A_DAY * (TICKS_KEPT_DAYS["sensor"] + 1)
        + SCHEDULE_TICKS_A_DAY * (TICKS_KEPT_DAYS["schedule"] + 1)
        + launches * (TICKS_KEPT_DAYS["launches"] + 1)
    )
    beyond = DAYS if settings.keep_candles_days is None else min(settings.keep_candles_days + 1, DAYS)
    return [
        Part("research runs", 24 * research, measured["research_run"]),
        Part("reconcile runs, one a minute", 1440 * trading, measured["reconcile_run"]),
        Part("trade runs, a session an hour", 24 * trading, measured["session_run"]),
        Part("ticks", ticks, measured["tick"]),
        Part("hours of the ledger", 24 * kept(settings.keep_rows_days), measured["ledger_hour"]),
        Part("days of selections and their backtests", DAYS, SELECTIONS_BYTES_A_DAY),
        Part("days of sealed backtests", kept(settings.keep_results_days), SEALED_BYTES_A_DAY),
        Part("candles of the windows", COINS_TURN_OVER, measured["candles_first"]),
        Part("days of candles", COINS_TURN_OVER * beyond, measured["candles_day"]),
    ]


def measure() -> dict[str, float]:
    """Bytes of each thing, from an empty home on the embedded exchange.

    Raises:
        StorageError: a run failed; the message has its last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = {**measured_environment(home, 30, 80), "TRADING_ASSETS_TRADE_MODE": "once"}
        with standing_exchange(home, 80, END_MS + _SECONDS_AFTER * 1000):
            found: dict[str, float] = run_measured(
                "trading_assets.bench.home_process", END_MS, environment=environment, timeout_s=_LONGEST_S
            )
    found["session_run"] = SESSION_RUNS * found["trade_run"]
    return found


def table(parts: list[Part]) -> Table:
    """For a person."""
    total = sum(part.bytes for part in parts)
    shown = Table("part", "number", "KB each", "MB", title=f"after {DAYS} days: {total / 1e6:,.0f} MB")
    for part in parts:
        shown.add_row(part.what, f"{part.count:,.0f}", f"{part.each / 1e3:,.1f}", f"{part.bytes / 1e6:,.0f}")
    return shown


def report() -> tuple[dict[str, float], list[Part]]:
    """What was measured, and the month with this process's settings."""
    measured = measure()
    return measured, month(measured, load_settings())
