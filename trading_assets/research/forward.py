"""What selections would have traded after they were made: single trades, or a whole account hour by hour.

Both are the functions of the walk-forward report.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import declared_entries
from trading_assets.backtesting.overfitting import DrawdownPaths
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import HOUR_MS, Timeframe, floor_ms, iso
from trading_assets.market.loading import CandleReader
from trading_assets.market.store import CandleStore
from trading_assets.reporting.answers import Answer, answers
from trading_assets.reporting.build import Sources, make_walk_forward
from trading_assets.reporting.estimates import drawdowns_of
from trading_assets.reporting.figures import Figures, trades_frame
from trading_assets.reporting.forward_test import run_forward_tests
from trading_assets.reporting.page import render
from trading_assets.reporting.report import Report
from trading_assets.reporting.trade_book import trade_book
from trading_assets.reporting.trades import SelectedStrategy
from trading_assets.reporting.walk_forward import walk_forward_costs
from trading_assets.research.frames import Moment, times, to_moment_ms, to_timeframe
from trading_assets.research.loading import source_or_home
from trading_assets.research.sources import Home, Source

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from trading_assets.reporting.trade_chart import ChartPage


def _timed(trades: pd.DataFrame) -> pd.DataFrame:
    """A report's trades with times in place of milliseconds."""
    frame = trades.copy()
    for name, column in (("entry_ms", "entry_time"), ("exit_ms", "exit_time"), ("hour_ms", "selected_hour")):
        at = list(frame.columns).index(name)
        frame.insert(at, column, times(frame.pop(name).to_numpy(dtype=np.int64), column))
    return frame


class _Noting:
    """A store that tells afterwards what was asked of it and is not held."""

    def __init__(self, store: CandleStore) -> None:
        self._store, self.btc = store, store.btc
        self.lacking: dict[tuple[str, str], int] = {}

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        missing = self._store.missing(symbol, timeframe, start_ms, end_ms)
        if missing:
            bars = sum(high - low for low, high in missing) // timeframe.ms
            key = symbol, timeframe.value
            self.lacking[key] = max(bars, self.lacking.get(key, 0))
        return self._store.read(symbol, timeframe, start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return self._store.read_funding(symbol, start_ms, end_ms)

    def warn(self) -> None:
        """Say of which coins trades may be marked too early."""
        if self.lacking:
            worst = sorted(self.lacking.items(), key=lambda one: -one[1])[:5]
            told = ", ".join(f"{symbol} {timeframe} ({bars} bars)" for (symbol, timeframe), bars in worst)
            warnings.warn(
                f"candles of {len(self.lacking)} coins and timeframes are not held to the end of the range: {told}. "
                "Trades there are marked at the last close that is held; research.open_home(fetch=True) fetches them",
                stacklevel=4,
            )


@dataclass(frozen=True)
class ForwardTest:
    """Trades of selections, each as if the account had been free to take it.

    Attributes:
        trades: one row a trade in order of entry: entry_time and exit_time (UTC closes), symbol, timeframe, strategy,
            parameters, selected_hour, side, entry_price and exit_price (USDT), size (base coin), fees, slippage,
            funding and pnl (USD, net), r (multiples of the risk), bps (of the position's value), reason, confidence
            (percent).
        failures: why a selection could not be followed, by symbol, timeframe and strategy.
    """

    trades: pd.DataFrame
    failures: Mapping[str, str]
    _raw: pd.DataFrame
    _reader: CandleReader

    def plot(self) -> ChartPage:
        """Each trade on its candles, as one page that needs nothing else."""
        return trade_book("Forward test", self._raw, self._reader)


def forward_test(
    selections: pd.DataFrame | Sequence[SelectedStrategy], end: Moment | None = None, *, source: Source | None = None
) -> ForwardTest:
    """Trade each selection in the hour after it was made, and follow each trade to its end.

    The rules are those of the walk-forward report, without an account: no limit refuses a trade.

    Args:
        selections: a frame with symbol, timeframe, strategy, parameters (JSON, as in `strategy_selections`) and
            `hour_ms` (UTC ms) or `selected_hour` (a time): the hour in which it was chosen. Or `SelectedStrategy` rows.
        end: no candle that closes later is read; default: an hour after the last selection's hour has ended.
        source: see `backtest`.

    Raises:
        DataError: there is no selection, or a column is missing.

    Example:
        ```python
        row = {"selected_hour": "2026-02-01 05:00", "symbol": "ETHUSDT", "timeframe": "5m"}
        chosen = pd.DataFrame([{**row, "strategy": "bollinger_rsi", "parameters": "{}"}])
        research.forward_test(chosen, source=market).trades[["entry_time", "side", "r", "reason"]]
        ```
    """
    read_of = source_or_home(source)
    chosen = _selections(selections)
    if not chosen:
        raise DataError("found no selection, expected at least one row")
    if not isinstance(read_of, Home):  # what a home has not, it may fetch; else a warning tells
        for symbol in sorted({one.symbol for one in chosen} - set(read_of.symbols())):
            raise DataError(f"no candles of {symbol} in {read_of.name}; a selection names it")
    settings = read_of.settings
    reader = _Noting(read_of.reader) if isinstance(read_of.reader, CandleStore) else read_of.reader
    tested = run_forward_tests(
        reader,
        chosen,
        end_ms=max(one.end_ms for one in chosen) if end is None else to_moment_ms(end),
        min_confidence=settings.min_confidence,
        costs=walk_forward_costs(settings),
        entered_by=declared_entries(settings),
        endings=_sources_of(read_of, None).endings() if isinstance(read_of, Home) else {},
    )
    raw = trades_frame(tested.of(chosen))
    if isinstance(reader, _Noting):
        reader.warn()
    failures = {f"{one.symbol} {one.timeframe} {one.strategy}": reason for one, reason in tested.failures.items()}
    return ForwardTest(_timed(raw), failures, raw, read_of.reader)


def _selections(given: pd.DataFrame | Sequence[SelectedStrategy]) -> list[SelectedStrategy]:
    if not isinstance(given, pd.DataFrame):
        wrong = next((one for one in given if not isinstance(one, SelectedStrategy)), None)
        if wrong is not None:
            raise DataError(
                f"a selection is {wrong!r}; expected a frame, such as pd.DataFrame([...]), or SelectedStrategy"
            )
        return list(given)
    frame = given.reset_index(drop=True)
    if "hour_ms" not in frame.columns and "selected_hour" in frame.columns:
        frame = frame.assign(hour_ms=[floor_ms(to_moment_ms(one), HOUR_MS) for one in frame["selected_hour"]])
    needed = ["hour_ms", "symbol", "timeframe", "strategy", "parameters"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise DataError(f"the selections lack {', '.join(missing)}; expected {', '.join(needed)}")
    hours = pd.to_numeric(frame["hour_ms"], errors="coerce")
    if hours.isna().any():
        raise DataError(f"hour_ms of row {int(hours.isna().to_numpy().argmax())} is no time; expected UTC ms")
    for timeframe in frame["timeframe"].unique():
        to_timeframe(timeframe)
    price = frame["max_price"] if "max_price" in frame.columns else pd.Series(np.inf, index=frame.index)
    rows = frame[needed].assign(max_price=price.fillna(np.inf)).to_dict("records")
    return [
        SelectedStrategy(
            int(row["hour_ms"]),
            str(row["symbol"]),
            str(row["timeframe"]),
            str(row["strategy"]),
            str(row["parameters"]),
            float(row["max_price"]),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class WalkForward:
    """The walk-forward report of a home, as frames.

    Attributes:
        report: all of it, as the page has it.
    """

    report: Report
    _reader: CandleReader

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Trades that the account took; columns as `ForwardTest.trades`."""
        return _timed(self.report.main.trades)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """USD at whole hours, index `time` (UTC): the selections, a random choice and holding BTC, where they are."""
        columns = {one.name: pd.Series(one.equity, index=times(one.times_ms, "time")) for one in self.report.curves}
        return pd.DataFrame(columns)

    @property
    def figures(self) -> Figures:
        """The headline numbers: see docs/reference/metrics.md."""
        return self.report.main.figures

    @cached_property
    def refused(self) -> pd.Series:
        """Signals that were not taken, by the limit that refused them first."""
        return pd.Series(dict(self.report.refused), name="signals", dtype="int64")

    def by(self, *dimensions: str) -> pd.DataFrame:
        """Closed trades by any columns of `trades`, and by `hour` (of the entry, UTC), `weekday` and `month`.

        Returns:
            trades, won_pct, mean_r, pnl (USD) of each group.

        Example:
            ```python
            wf.by("strategy", "timeframe")
            wf.by("hour")
            ```
        """
        frame = self.trades[self.trades["reason"] != "open"]
        at = frame["entry_time"].dt
        frame = frame.assign(hour=at.hour, weekday=at.day_name(), month=at.strftime("%Y-%m"))
        return frame.groupby(list(dimensions)).agg(
            trades=("pnl", "size"),
            won_pct=("pnl", lambda pnl: (pnl > 0).mean() * 100),
            mean_r=("r", "mean"),
            pnl=("pnl", "sum"),
        )

    def drawdowns(self) -> DrawdownPaths:
        """What drawdowns the account's days could have given in another order, some days in a row kept together.

        No verdict (`reason`) with fewer than 20 days. It assumes days like those that were seen.

        Example:
            ```python
            found = wf.drawdowns()
            found.seen, found.worst, found.longest_days, found.reason
            ```
        """
        return drawdowns_of(self.report.main.curve)

    def answers(self) -> list[Answer]:
        """The first screen of the report: each question with a number, its interval and a verdict, as text.

        Example:
            ```python
            {one.question: (one.number, one.verdict) for one in wf.answers()}
            ```
        """
        return answers(self.report)

    def plot(self) -> go.Figure:
        """Return of the account, beside a random choice and holding BTC, percent."""
        from trading_assets.research.figures import curves  # noqa: PLC0415 (plotly)

        returns = (self.equity / self.equity.iloc[0] - 1) * 100
        return curves({str(name): returns[name].dropna() for name in returns}, "Walk-forward", "percent")

    def chart(self) -> ChartPage:
        """Each trade on its candles, as one page that needs nothing else."""
        return trade_book(f"Walk-forward, {iso(self.report.start_ms)[:10]}", self.report.main.trades, self._reader)

    def save(self, path: str | Path) -> Path:
        """Write the report's page to a file, and return its path."""
        to = Path(path).expanduser()
        to.write_text(render(self.report), encoding="utf-8")
        return to


def walk_forward(
    first: Moment | None = None, last: Moment | None = None, *, source: Source | None = None
) -> WalkForward:
    """What the selections of a home's hours would have traded in the hours after them, by one account.

    It is the report of `trading-assets report walk-forward`: same selections, fills, costs, funding and limits, beside
    random choices. Without `fetch=True` only what the home holds is read.

    Args:
        first, last: the first and the last hour that chose; by default all whose following hour has ended.
        source: a home; by default that of the settings.

    Raises:
        DataError: the source is no home, or there is no such hour: `trading-assets backfill` makes them.

    Example:
        ```python
        wf = research.walk_forward("2026-02-01", "2026-02-28")
        wf.figures.mean_r, wf.figures.deflated_sharpe
        wf.by("timeframe")
        wf.plot()
        ```
    """
    home = source_or_home(source)
    if not isinstance(home, Home):
        raise DataError(f"{home.name} has no selections; expected a home: research.open_home(path)")
    noting = _Noting(home.store)
    report = make_walk_forward(
        _sources_of(home, noting),
        None if first is None else floor_ms(to_moment_ms(first), HOUR_MS),
        None if last is None else floor_ms(to_moment_ms(last), HOUR_MS),
    )
    noting.warn()
    return WalkForward(report, home.reader)


def _sources_of(home: Home, noting: _Noting | None) -> _Held:
    return _Held(home.settings, home.database, home.store, home.market, noting)


@dataclass(frozen=True)
class _Held(Sources):
    """Sources that note what is not held."""

    noting: _Noting | None = None

    def reader(self) -> CandleReader:
        return super().reader() if self.market is not None or self.noting is None else self.noting
