"""Where research reads candles, funding and settings: a home, recorded files, frames, or the seeded market.

No backtest is here. Nothing is written, but what a home fetches where it was opened with `fetch=True`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.configuration import HOME_VARIABLE
from trading_assets.core.errors import DataError
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, iso
from trading_assets.ledger.database import Database
from trading_assets.ledger.fees import with_own_fees
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.market.loading import CandleReader, max_prices_by_symbol, resample
from trading_assets.market.lookback import stored_timeframe
from trading_assets.market.opening import open_candle_store
from trading_assets.market.spans import Span
from trading_assets.market.store import CandleStore
from trading_assets.research.frames import candles_from, funding_from, to_timeframe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trading_assets.core.ports import MarketData

SEEDED_NOW_MS = 1_772_323_200_000
"""2026-03-01 00:00 UTC: "now" of the seeded market in research, so that a notebook gives the same again."""


class Source(Protocol):
    """What every function of `research` takes as `source`. Get one from `open_home`, `open_files`, `from_frames` or
    `seeded`; whatever fulfils this serves, too.

    Attributes:
        name: what it is, for charts and messages.
        reader: candles and funding.
        settings: costs, sizes and limits; `with_settings` changes them.
        database: the ledger of a home; None where there is none.
    """

    @property
    def name(self) -> str: ...

    @property
    def reader(self) -> CandleReader: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database | None: ...

    def symbols(self) -> list[str]:
        """Symbols of which there are candles."""
        ...

    def missing(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """Spans of [start_ms, end_ms) of which nothing is known; what the venue is known not to have is not missing."""
        ...

    def newest_ms(self, symbol: str, timeframe: Timeframe) -> int:
        """Where a range ends that names no end, UTC ms.

        Raises:
            DataError: nothing is held of it.
        """
        ...

    def max_price(self, symbol: str, end_ms: int) -> float:
        """The highest price at which the smallest order is affordable, as the scan of the hour that ends there has it;
        infinite where no scan tells."""
        ...


@dataclass(frozen=True)
class Home:
    """A home: its candle store, ledger and settings. See `open_home`."""

    settings: Settings
    database: Database
    store: CandleStore
    market: MarketData | None = None

    @property
    def name(self) -> str:
        return f"home {self.settings.home}"

    @cached_property
    def reader(self) -> CandleReader:
        if self.market is None:
            return self.store
        from trading_assets.reporting.load import FillingReader  # noqa: PLC0415

        return FillingReader(self.store, self.market)

    def symbols(self) -> list[str]:
        """See `Source`."""
        return self.store.symbols()

    def missing(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """See `Source`. What is fetched on demand is never missing."""
        if self.market is not None:
            return []
        return self.store.missing(symbol, stored_timeframe(timeframe), start_ms, end_ms)

    def newest_ms(self, symbol: str, timeframe: Timeframe) -> int:
        """See `Source`: the newest scanned hour's end where one was scanned, else the newest candle's."""
        hour = latest_hour_ms(self.database, MARKET_SCAN)
        if hour is not None:
            return as_of_ms(hour)
        last = self.store.last_ms(symbol, stored_timeframe(timeframe))
        if last is None:
            held = ", ".join(self.symbols()[:8]) or "nothing"
            raise DataError(
                f"{self.name} holds no {timeframe.value} candles of {symbol}; it holds {held}: run an hour (make demo, "
                "trading-assets backfill), import history, or open the home with fetch=True"
            )
        return last

    def max_price(self, symbol: str, end_ms: int) -> float:
        """See `Source`."""
        if end_ms % HOUR_MS:
            return float("inf")
        hour = end_ms - HOUR_MS
        scan = read_partitions(self.database, MARKET_SCAN, [hour])
        return max_prices_by_symbol(scan).get(symbol, {}).get(hour, float("inf"))

    def close(self) -> None:
        """Let go of the ledger."""
        self.database.close()


def open_home(path: str | Path | None = None, *, fetch: bool = False) -> Home:
    """A home as a source of research: what `make demo`, `trading-assets backfill` and Dagster have stored.

    Neither Dagster nor a daemon need run. The home's own settings and fees hold.

    Args:
        path: its directory; by default that of the settings (`TRADING_ASSETS_HOME`, else `.trading_assets`).
        fetch: ask the venue for candles that are not held, and keep them. This starts the embedded exchange where that
            is the venue.

    Raises:
        ConfigurationError: its settings are malformed.
        DataError: there is no such directory.
        StorageError: its ledger cannot be read.

    Example:
        ```python
        from trading_assets import research

        home = research.open_home("~/bybit-home")
        research.backtest("bollinger_rsi", "ETHUSDT", "15m", source=home).plot()
        ```
    """
    with _home_named(path):
        settings = load_settings()
    if not Path(settings.home).is_dir():
        raise DataError(f"there is no home {settings.home}: make one with make demo or trading-assets backfill")
    database = Database.of(settings)
    market = None
    if fetch:
        from trading_assets.venues import open_market_data  # noqa: PLC0415 (imports the connector)

        market = open_market_data(settings)
    store = open_candle_store(settings)
    return Home(with_own_fees(settings, database), database, store, market)


@contextmanager
def _home_named(path: str | Path | None) -> Iterator[None]:
    """Settings are looked for where the command line would with `--home`."""
    before = os.environ.get(HOME_VARIABLE)
    if path is not None:
        os.environ[HOME_VARIABLE] = str(Path(path).expanduser().resolve())
    try:
        yield
    finally:
        if path is not None:
            if before is None:
                del os.environ[HOME_VARIABLE]
            else:
                os.environ[HOME_VARIABLE] = before


@dataclass(frozen=True)
class Market:
    """A market that computes or holds everything in memory. See `seeded` and `open_files`."""

    name: str
    reader: CandleReader
    settings: Settings
    spans: Mapping[str, Span]
    database: None = None

    def symbols(self) -> list[str]:
        """See `Source`."""
        return list(self.spans)

    def missing(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """See `Source`."""
        first, last = self._span(symbol)
        outside = [(start_ms, min(first, end_ms)), (max(last, start_ms), end_ms)]
        return [(low, high) for low, high in outside if low < high]

    def newest_ms(self, symbol: str, timeframe: Timeframe) -> int:
        """See `Source`."""
        return self._span(symbol)[1]

    def max_price(self, symbol: str, end_ms: int) -> float:
        """See `Source`: nothing was scanned."""
        return float("inf")

    def _span(self, symbol: str) -> Span:
        if symbol not in self.spans:
            names = list(self.spans)
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            raise DataError(f"no candles of {symbol} in {self.name}; there are {', '.join(names[:8])}{more}")
        return self.spans[symbol]


class _Clipped:
    """A market's reader that ends where the market's data ends: a recorded price stands still beyond."""

    def __init__(self, reader: CandleReader, spans: Mapping[str, Span]) -> None:
        self._reader, self._spans, self.btc = reader, spans, reader.btc

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        first, last = self._spans.get(symbol, (0, 0))
        start_ms, end_ms = max(start_ms, first), min(end_ms, last)
        if start_ms >= end_ms:
            return Candles.empty(timeframe)
        found = self._reader.read(symbol, timeframe, start_ms, end_ms)
        return found.between(start_ms, end_ms).closed_by(last)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        first, last = self._spans.get(symbol, (0, 0))
        start_ms, end_ms = max(start_ms, first), min(end_ms, last + 1)
        return self._reader.read_funding(symbol, start_ms, end_ms) if start_ms < end_ms else Funding.empty()


def seeded(seed: int = 7, symbols: int = 30, *, now: int = SEEDED_NOW_MS) -> Market:
    """The seeded market: noise of any time from a number, without files, network or a home.

    No strategy earns anything there but by luck, so it shows how luck looks.

    Args:
        seed: the same number gives the same prices.
        symbols: how many USDT perpetuals it lists.
        now: where ranges end that name no end, UTC ms.

    Example:
        ```python
        market = research.seeded()
        research.candles("ETHUSDT", "15m", "2026-02-01", "2026-02-03", source=market).tail()
        ```
    """
    from trading_assets.simulator.market.reader import MarketReader  # noqa: PLC0415
    from trading_assets.simulator.market.seeded import SeededMarket  # noqa: PLC0415

    market = SeededMarket(seed, symbols)
    spans = {
        name: (contract.launch_ms, min(now, contract.delivery_ms or now))
        for name, contract in market.contracts.items()
        if contract.launch_ms < now
    }
    return Market(f"seeded market {seed}", _Clipped(MarketReader(market), spans), load_settings(), spans)


def open_files(*paths: str | Path) -> Market:
    """Files of candles, Parquet or CSV, as the replay market reads them: see docs/embedded_exchange.md.

    Columns: symbol, timeframe (`1m` to `1d`), start_ms (UTC), open, high, low, close, volume (base coin), turnover
    (USDT). `funding.parquet` and `instruments.csv` in the same directory are read, too. Prices are put on the tick; a
    candle missing inside a file is one without trades.

    Raises:
        ConfigurationError: a file cannot be read, has another layout, or files contradict each other.

    Example:
        ```python
        files = research.open_files("../shared/data/candles_5m.parquet")
        files.symbols()
        ```
    """
    from trading_assets.simulator.market.reader import MarketReader  # noqa: PLC0415
    from trading_assets.simulator.market.replay import ReplayMarket  # noqa: PLC0415

    market = ReplayMarket([Path(path).expanduser() for path in paths])
    spans = market.spans
    return Market(
        f"files {', '.join(Path(path).name for path in paths)}",
        _Clipped(MarketReader(market), spans),
        load_settings(),
        spans,
    )


@dataclass(frozen=True)
class _FrameReader:
    """Candles of frames; a timeframe that was not given is put together from the longest given one that divides it."""

    given: Mapping[str, Mapping[Timeframe, Candles]]
    payments: Mapping[str, Funding]
    btc: str = "BTCUSDT"
    made: dict[tuple[str, Timeframe], Candles] = field(default_factory=dict)

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        if (symbol, timeframe) not in self.made:
            self.made[symbol, timeframe] = self._whole(symbol, timeframe)
        return self.made[symbol, timeframe].between(start_ms, end_ms)

    def _whole(self, symbol: str, timeframe: Timeframe) -> Candles:
        held = self.given.get(symbol, {})
        if timeframe in held:
            return held[timeframe]
        finer = [one for one in held if timeframe.ms % one.ms == 0]
        if not finer:
            return Candles.empty(timeframe)
        best = held[max(finer, key=lambda one: one.ms)]
        if not len(best):
            return Candles.empty(timeframe)
        # One that begins inside a longer candle does not know its open.
        first = -(-int(best.start_ms[0]) // timeframe.ms) * timeframe.ms
        return resample(best.between(first, int(best.end_ms[-1])), timeframe, int(best.end_ms[-1]))

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return self.payments.get(symbol, Funding.empty()).between(start_ms, end_ms)


def from_frames(
    candles: Mapping[str, pd.DataFrame | Mapping[str, pd.DataFrame]],
    timeframe: str | Timeframe = "1m",
    *,
    funding: Mapping[str, pd.DataFrame] | None = None,
    settings: Settings | None = None,
) -> Market:
    """Frames of candles as a source: whatever pandas can read.

    Args:
        candles: a frame for each symbol, or several by their timeframes. Columns open, high, low, close, volume (base
            coin) and, if known, turnover (USDT); index: times of the opens, UTC, ascending. Longer timeframes are put
            together from them.
        timeframe: that of frames that name none.
        funding: for each symbol a frame with `rate` (fraction of notional), index UTC; none: no funding is paid.
        settings: costs and sizes; those of the environment and the settings' file without.

    Raises:
        ConfigurationError: there is no such timeframe.
        DataError: a frame lacks a column, is in disorder, or holds impossible candles.

    Example:
        ```python
        frame = pd.read_csv("eth.csv", index_col="time", parse_dates=True)
        mine = research.from_frames({"ETHUSDT": frame}, "15m")
        research.backtest("bollinger_rsi", "ETHUSDT", "60m", source=mine).metrics
        ```
    """
    given: dict[str, dict[Timeframe, Candles]] = {}
    for symbol, frames in candles.items():
        by_timeframe = dict(frames) if isinstance(frames, Mapping) else {timeframe: frames}
        given[symbol] = {
            to_timeframe(name): candles_from(frame, to_timeframe(name), f"the {name} frame of {symbol}")
            for name, frame in by_timeframe.items()
        }
    payments = {symbol: funding_from(frame, f"funding of {symbol}") for symbol, frame in (funding or {}).items()}
    spans = {
        symbol: (
            min(int(one.start_ms[0]) for one in held.values() if len(one)),
            max(int(one.end_ms[-1]) for one in held.values() if len(one)),
        )
        for symbol, held in given.items()
        if any(map(len, held.values()))
    }
    if not spans:
        raise DataError("found no candle in any frame, expected a frame with candles for each symbol")
    held = settings or load_settings()
    return Market("frames", _FrameReader(given, payments), held, spans)


def with_settings(source: Source, **changes: object) -> Source:
    """The same source under other settings: costs, sizes, limits.

    Raises:
        ConfigurationError: there is no such setting, or it does not allow the value.

    Example:
        ```python
        dear = research.with_settings(home, slippage_bps=6.0, cost_model="liquidity")
        ```
    """
    from dataclasses import replace  # noqa: PLC0415

    from pydantic import ValidationError  # noqa: PLC0415

    from trading_assets.core.errors import ConfigurationError  # noqa: PLC0415

    unknown = sorted(changes.keys() - Settings.model_fields.keys())
    if unknown:
        raise ConfigurationError(f"no setting is called {', '.join(unknown)}: see docs/reference/settings.md")
    try:
        changed = Settings.model_validate(source.settings.model_dump() | changes)
    except ValidationError as error:
        raise ConfigurationError(f"a setting does not allow its value: {error.errors()[0]['msg']}") from None
    return replace(source, settings=changed)  # type: ignore[type-var]


def require_held(source: Source, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> None:
    """Refuse a range of which not everything is known: a backtest of half of it would look like one of all.

    Raises:
        DataError: nothing is known of a part of it.
    """
    if start_ms >= end_ms:
        raise DataError(f"the range from {iso(start_ms)} to {iso(end_ms)} is empty: start lies not before end")
    missing = source.missing(symbol, timeframe, start_ms, end_ms)
    if missing:
        low, high = missing[0]
        more = f", and {len(missing) - 1} more spans" if len(missing) > 1 else ""
        raise DataError(
            f"{source.name} has no {timeframe.value} candles of {symbol} from {iso(low)} to {iso(high)}{more}: ask for "
            "a range that it has, or fetch them (research.open_home(fetch=True), on the command line --fetch or "
            "trading-assets backfill)"
        )
