"""`trading-assets bench market`: what the markets of the embedded exchange cost, in CPU milliseconds. No network.

CPU time of this process, because wall time on a shared machine says little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from trading_assets.core.memory import peak_mb
from trading_assets.core.timeframes import DAY_MS, MINUTE_MS, to_ms
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Params, Raw
from trading_assets.simulator.venue import ServeConfig, Venue

SYMBOLS = 600
CANDLES = 5760
"""Four days of minutes."""

REPEATS = 5
REPLAY_DAYS, REPLAY_SYMBOLS = 365, 30
_NOW_MS = to_ms(datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC))


def run() -> dict[str, float]:
    """CPU milliseconds by what was done (the best of some repeats, but the first of what is called cold), counts, and
    the peak of resident memory in MB."""
    from trading_assets.simulator.server import open_venue  # noqa: PLC0415 (is part of what is measured)

    figures: dict[str, float] = {}
    spec = ClockSpec(ClockMode.MANUAL, _NOW_MS)
    begin = time.process_time()
    venue = open_venue(ServeConfig(symbols=SYMBOLS, clock=spec, deposit=Decimal(10_000)))
    figures["open_600_symbols_ms"] = _milliseconds(begin)
    figures["contracts"] = len(venue.market.contracts)
    figures |= _answers(venue)
    figures["seeded_peak_mb"] = peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        path = _year_of_candles(Path(folder))
        begin = time.process_time()
        replay = open_venue(ServeConfig(clock=ClockSpec(ClockMode.MANUAL), replay=(path,)))
        figures["open_replay_of_a_year_ms"] = _milliseconds(begin)
        figures["replay_candles"] = REPLAY_DAYS * 288 * REPLAY_SYMBOLS
        replay.advance(lambda now: now + 100 * DAY_MS)
        now = replay.clock.now_ms()
        figures["replay_minutes_cold_ms"] = _best(
            lambda: replay.market.bars("S0USDT", "1", now - CANDLES * MINUTE_MS, now, now), 1
        )
        figures["replay_peak_mb"] = peak_mb()
    return {name: round(value, 2) for name, value in figures.items()}


def _answers(venue: Venue) -> dict[str, float]:
    """The public answers that clients ask for most, on the seeded market."""
    from trading_assets.simulator.codec import envelope  # noqa: PLC0415
    from trading_assets.simulator.rest import market, market_series  # noqa: PLC0415

    def tickers(now_ms: int) -> Callable[[], object]:
        return lambda: envelope(market.tickers(venue, Params({"category": "linear"}), now_ms), now_ms)

    def klines() -> None:
        end = _NOW_MS
        for _ in range(-(-CANDLES // 1000)):
            asked = {"symbol": "SOLUSDT", "interval": "1", "limit": "1000", "end": str(end)}
            assert isinstance(market.kline(venue, Params(asked), _NOW_MS), Raw)
            end -= 1000 * MINUTE_MS

    def minutes(days_ago: int) -> Callable[[], object]:
        end = _NOW_MS - days_ago * DAY_MS
        return lambda: venue.market.bars("ETHUSDT", "1", end - CANDLES * MINUTE_MS, end, _NOW_MS)

    trades = Params({"category": "linear", "symbol": "BTCUSDT", "limit": "1000"})
    mark = Params({"symbol": "BTCUSDT", "interval": "60", "limit": "1000"})
    return {
        "tickers_cold_ms": _best(tickers(_NOW_MS), 1),
        "tickers_ms": min(_best(tickers(_NOW_MS + second * 1000), 1) for second in range(1, REPEATS + 1)),
        "tickers_next_minute_ms": _best(tickers(_NOW_MS + 10 * MINUTE_MS), 1),
        "candles_5760_cold_ms": _best(minutes(100), 1),
        "candles_5760_ms": _best(minutes(100), REPEATS),
        "kline_answers_5760_ms": _best(klines, REPEATS),
        "recent_trades_1000_ms": _best(lambda: market_series.recent_trade(venue, trades, _NOW_MS), REPEATS),
        "mark_candles_1000_hours_ms": _best(
            lambda: market_series.ROUTES[0].handler(venue, mark, _NOW_MS),
            REPEATS,
        ),
    }


def _best(action: Callable[[], object], repeats: int) -> float:
    """CPU milliseconds of the quickest of `repeats` runs."""
    durations = []
    for _ in range(repeats):
        begin = time.process_time()
        action()
        durations.append(_milliseconds(begin))
    return min(durations)


def _milliseconds(begin: float) -> float:
    return (time.process_time() - begin) * 1000.0


def _year_of_candles(folder: Path) -> Path:
    """A year of 5-minute candles of many symbols, taken from the seeded market."""
    import pyarrow as pa  # noqa: PLC0415 (seconds of imports that only this needs)
    import pyarrow.parquet as pa_parquet  # noqa: PLC0415

    from trading_assets.simulator.market.seeded import SeededMarket  # noqa: PLC0415

    seeded = SeededMarket(7, 1)
    begin = _NOW_MS // DAY_MS * DAY_MS - REPLAY_DAYS * DAY_MS
    bars = seeded.bars("BTCUSDT", "5", begin, begin + REPLAY_DAYS * DAY_MS, _NOW_MS)
    names = ("open", "high", "low", "close", "volume", "turnover")
    path = folder / "year.parquet"
    values = {name: bars[:, number] for number, name in enumerate(names, start=1)}
    texts = [("symbol", pa.string()), ("timeframe", pa.string())]
    schema = pa.schema([*texts, ("start_ms", pa.int64()), *((name, pa.float64()) for name in names)])
    with pa_parquet.ParquetWriter(path, schema) as writer:
        for number in range(REPLAY_SYMBOLS):
            fixed = {"symbol": [f"S{number}USDT"] * len(bars), "timeframe": ["5m"] * len(bars)}
            writer.write_table(pa.table({**fixed, "start_ms": bars[:, 0].astype("int64"), **values}))
    return path
