"""Reports of trades that were drawn, not simulated: cheap to make, and what is true of them is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.reporting.evidence import evidence
from trading_assets.reporting.figures import TRADE_COLUMNS, Curve, figures
from trading_assets.reporting.matched import MatchedBenchmark
from trading_assets.reporting.report import RandomBaseline, Report, Track

START = 1_772_409_600_000
"""2026-03-02 00:00 UTC."""

COINS, FRAMES, STRATEGIES = ("ETHUSDT", "SOLUSDT", "XRPUSDT"), ("5m", "15m", "60m"), ("bands", "trend")


class WavesReader:
    """Candles and funding of any coin: BTC rises for 15 days and falls for 15; longs pay where that is so."""

    btc = "BTCUSDT"

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        first = -(-start_ms // timeframe.ms) * timeframe.ms
        start = np.arange(first, end_ms - timeframe.ms + 1, timeframe.ms, dtype=np.int64)
        wave = np.sin(2 * np.pi * (start - START) / (60 * DAY_MS)) * 0.2 + 0.004 * np.sin(start / HOUR_MS * 1.7)
        close = 100 * np.exp(wave)
        volume = np.full(len(start), 1000.0 * timeframe.minutes)
        return Candles(timeframe, start, close, close * 1.002, close * 0.998, close, volume, volume * close)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        times = np.arange(-(-start_ms // (8 * HOUR_MS)), -(-end_ms // (8 * HOUR_MS)), dtype=np.int64) * 8 * HOUR_MS
        return Funding(times, np.where(times // DAY_MS % 2 == 0, 1e-4, -1e-4))


def drawn_trades(days: int, mean_r: float, seed: int, *, a_day: int = 12) -> pd.DataFrame:
    """Trades of $100 with a stop at 1 %: they win 2 R or lose 1 R before costs of 0.15 R; the mean is net."""
    rng = np.random.default_rng(seed)
    count = days * a_day
    entries = START + np.sort(rng.integers(0, days * 288 - 36, count)) * 300_000
    won = rng.random(count) < (mean_r + 0.15 + 1) / 3
    r = np.where(won, 2.0, -1.0) - 0.15
    side = rng.choice(["LONG", "SHORT"], count)
    moved = np.where(won, 0.02, -0.01) * np.where(side == "LONG", 1, -1)
    frame = {
        "entry_ms": entries,
        "exit_ms": entries + rng.integers(1, 36, count) * 300_000,
        "symbol": rng.choice(COINS, count),
        "timeframe": rng.choice(FRAMES, count),
        "strategy": rng.choice(STRATEGIES, count),
        "parameters": rng.choice(['{"n": 10}', '{"n": 20}'], count),
        "hour_ms": entries // HOUR_MS * HOUR_MS - HOUR_MS,
        "side": side,
        "entry_price": 100.0,
        "exit_price": 100.0 * (1 + moved),
        "size": 1.0,
        "fees": 0.11,
        "slippage": 0.04,
        "funding": 0.0,
        "pnl": r,
        "r": r,
        "bps": r * 100,
        "reason": np.where(won, "target", "stop"),
        "confidence": 65.0,
    }
    return pd.DataFrame(frame)[TRADE_COLUMNS].sort_values("entry_ms", kind="stable").reset_index(drop=True)


def track(name: str, trades: pd.DataFrame, days: int, capital: float = 1000.0) -> Track:
    """An account that took these trades; each counts at its exit."""
    times = np.arange(START, START + days * DAY_MS + 1, HOUR_MS, dtype=np.int64)
    ends = np.sort(trades["exit_ms"].to_numpy())
    pnl = np.concatenate([[0.0], np.cumsum(trades.sort_values("exit_ms")["pnl"].to_numpy())])
    curve = Curve(name, times, capital + pnl[np.searchsorted(ends, times, side="right")])
    exposure = np.full(len(times), 200.0)
    return Track(curve, trades, figures(curve, trades, exposure), exposure)


@lru_cache
def drawn_report(days: int = 40, mean_r: float = 0.0, seed: int = 1) -> Report:
    """A walk-forward of such trades, with a matched benchmark around zero and random choices that lose."""
    trades = drawn_trades(days, mean_r, seed)
    main, rng = track("Selected", trades, days), np.random.default_rng(seed + 1)
    tried = drawn_trades(days, -0.1, seed + 2, a_day=20)
    beside = track("Random choice (median)", tried, days)
    ends = 1000 + rng.normal(-50, 20, 20)
    drawn = rng.normal(0.0, 0.05, 999)
    gross = float(trades["r"].mean()) + 0.15 if len(trades) else 0.0
    return Report(
        kind="walk_forward",
        title="Walk-forward",
        start_ms=START,
        end_ms=START + days * DAY_MS,
        main=main,
        beside=[beside],
        holding=Curve("Holding BTC", main.curve.times_ms, np.linspace(1000, 1080, len(main.curve.times_ms))),
        sample=RandomBaseline(beside.curve.equity - 20, beside.curve.equity + 20, ends, float(main.curve.equity[-1])),
        matched=MatchedBenchmark(len(trades), gross, gross - 0.15, 0.0, drawn, drawn - 0.15, drawn * 100),
        under_costs={"flat": main.figures, "liquidity": main.figures, "stress": main.figures},
        facts={"hours followed": f"{days * 24}", "opening equity": "$1,000", "seed": str(seed)},
        notes=["A note."],
        assumptions=["An assumption.", f"Drawn with a mean of {mean_r:g} R."],
        evidence=evidence(WavesReader(), main.curve, trades, tried),
    )
