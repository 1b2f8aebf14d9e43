"""What every research asset has in common: owners, backfill policy, the time guard, progress lines."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import dagster as dg
import numpy as np
import pandas as pd

from trading_assets.core import counters, trace
from trading_assets.core.errors import DataError, TradingAssetsError
from trading_assets.core.ports import MarketData
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import as_of_ms, iso, local_ms
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import DatabaseResource
from trading_assets.ledger import process_reports

OWNERS = ["team:trading-assets"]

TABLES = "hourly_tables"
"""Key of the IO manager that stores a research asset's frame."""

ONE_RUN = dg.BackfillPolicy.single_run()
"""A run costs seconds before any work, so a backfill hands a range of hours to one run."""


def backfill_policy(hours_per_run: int | None) -> dg.BackfillPolicy:
    """One run for a range, or one for each so many of its hours: what several machines can share."""
    return ONE_RUN if hours_per_run is None else dg.BackfillPolicy.multi_run(hours_per_run)


HOURS = backfill_policy(load_settings(lenient=True).backfill_hours_per_run)
"""Of every asset of research, so that each run takes its hours through all of them."""

IN_FULL = 6
"""So many newest hours of a run show tables and pictures, older ones their figures: nobody looks at a month of tables,
and drawing and storing them would take longer than the backtests."""

SETTLE_MS = 2_000
"""A candle's last trades reach the exchange's own candles a moment after its end."""


def require_ended(market_data: MarketData, hours: Sequence[int]) -> None:
    """Wait the last moment until the newest hour's candles are final.

    Raises:
        DataError: the hour has not ended.
    """
    as_of = as_of_ms(max(hours))
    now = market_data.now_ms()
    if now < as_of:
        raise DataError(
            f"the hour that ends at {iso(as_of)} has not ended: the exchange's clock says {iso(now)}. Materialise an "
            "earlier partition, or wait."
        )
    if now < as_of + SETTLE_MS:
        time.sleep((as_of + SETTLE_MS - now) / 1000)


_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


def traced(
    compute: Callable[Concatenate[dg.AssetExecutionContext, _Given], _Made],
) -> Callable[Concatenate[dg.AssetExecutionContext, _Given], _Made]:
    """A stage of research: its run is a span, in a trace of its own, and its time is counted.

    The stage takes the resource `database`.
    """

    @functools.wraps(compute)
    def within(context: dg.AssetExecutionContext, *args: _Given.args, **given: _Given.kwargs) -> _Made:
        hours, stage = context.partition_key_range, context.asset_key.to_user_string()
        about = {"run_id": context.run.run_id, "first_hour": hours.start, "last_hour": hours.end}
        began_s = time.monotonic()
        with trace.span(f"research.{stage}", **about):
            made = compute(context, *args, **given)
        database = given["database"]
        if not isinstance(database, DatabaseResource):
            raise TypeError(f"the stage {stage} takes the resource database, found {type(database).__name__}")
        counted: dict[counters.Key, float] = {
            (counters.RESEARCH_SECONDS, stage): time.monotonic() - began_s,
            (counters.RESEARCH_HOURS, stage): float(len(context.partition_keys)),
        }
        try:
            process_reports.add_ended(
                database.get(), load_settings().account, process_reports.RESEARCH, counted, local_ms()
            )
        except TradingAssetsError as error:
            context.log.warning(f"the time of this stage was not counted: {error}")
        return made

    return within


class ByHour:
    """Rows of an hourly table, sorted by hour, seen hour by hour: one pass for a figure of every hour.

    Args:
        rows: with a column `hour_ms`, ascending.
        hours: ascending, UTC ms; rows of other hours are not allowed.
    """

    def __init__(self, rows: pd.DataFrame, hours: Sequence[int]) -> None:
        self.hours = list(hours)
        self._rows = rows
        self._at = np.searchsorted(np.array(self.hours), rows["hour_ms"].to_numpy())
        self._ends = np.cumsum(self.count()).tolist()

    def rows(self, at: int) -> pd.DataFrame:
        """The rows of the hour at index `at`."""
        return self._rows.iloc[self._ends[at - 1] if at else 0 : self._ends[at]]

    def count(self, which: pd.Series | None = None) -> list[int]:
        """How many rows each hour has, of those in a mask."""
        at = self._at if which is None else self._at[which.to_numpy()]
        return np.bincount(at, minlength=len(self.hours)).tolist()

    def total(self, column: str, which: pd.Series | None = None) -> list[float]:
        """The sum of a column in each hour, of the rows in a mask."""
        values = self._rows[column].to_numpy(dtype=np.float64)
        at = self._at
        if which is not None:
            values, at = values[which.to_numpy()], at[which.to_numpy()]
        return np.bincount(at, weights=values, minlength=len(self.hours)).tolist()


def describe_hours(
    context: dg.AssetExecutionContext,
    by_hour: ByHour,
    figures: Mapping[str, Sequence[object]],
    in_full: Callable[[int, pd.DataFrame], Mapping[str, object]],
) -> None:
    """Metadata of each hour's rows, its partition's own.

    Args:
        figures: one value an hour, for each name.
        in_full: tables and pictures of the hour at an index, from its rows; asked of the newest `IN_FULL` hours.
    """
    newest = len(by_hour.hours) - IN_FULL
    for at, (hour, count) in enumerate(zip(by_hour.hours, by_hour.count(), strict=True)):
        metadata = {"dagster/row_count": count, **{name: values[at] for name, values in figures.items()}}
        if at >= newest:
            metadata |= in_full(at, by_hour.rows(at))
        context.add_asset_metadata(metadata, partition_key=key_of(hour))


class Progress:
    """Says how far a long step is, at most every few seconds: every line is stored as an event."""

    def __init__(self, log: dg.DagsterLogManager, what: str, every_s: float = 5.0) -> None:
        self._log, self._what, self._every_s = log, what, every_s
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self._every_s and done < total:
            self._last = time.monotonic()
            self._log.info(f"{self._what}: {done} of {total}")
