"""Two saved reports against each other: what differs, and by how much more than chance. Nothing is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trading_assets.core.candles import FloatArray, IntArray
from trading_assets.core.errors import DataError
from trading_assets.reporting.estimates import Estimate, difference_by_day, mean_of_days
from trading_assets.reporting.saved import SavedReport
from trading_assets.reporting.trades import OPEN

_IDENTITY = ["entry_ms", "symbol", "timeframe", "strategy", "side"]


@dataclass(frozen=True)
class Group:
    """Closed trades of both reports, or of one alone: how many, and their mean R in the first and in the second."""

    name: str
    trades: int
    first_r: float
    second_r: float


@dataclass(frozen=True)
class Difference:
    """The second report less the first.

    Attributes:
        per_day: of the return of a day, percent, on days that both have.
        per_trade: of the mean R of a closed trade; None where the trades of one are not there.
        groups: trades that both took (same coin, timeframe, strategy, side and entry), and those of one alone.
        only_first, only_second: facts and assumptions that the other one has not.
    """

    first: SavedReport
    second: SavedReport
    per_day: Estimate
    per_trade: Estimate | None
    groups: Sequence[Group]
    only_first: Sequence[str]
    only_second: Sequence[str]


def compare(first: SavedReport, second: SavedReport) -> Difference:
    """Hold two reports against each other.

    Raises:
        DataError: both are one report.
    """
    if first.name == second.name and first.days == second.days:
        raise DataError(f"both are the report {first.name}, expected two: name another one")
    shared = sorted(set(first.days) & set(second.days))
    daily = np.array([second.days[day] - first.days[day] for day in shared], dtype=np.float64)
    texts = [
        [*(f"{name}: {value}" for name, value in one.facts.items()), *one.notes, *one.assumptions]
        for one in (first, second)
    ]
    per_trade, groups = None, list[Group]()
    if first.trades is not None and second.trades is not None:
        ours, theirs = _closed(first.trades), _closed(second.trades)
        per_trade = difference_by_day(_results(theirs), _results(ours))
        groups = _groups(ours, theirs)
    return Difference(
        first,
        second,
        mean_of_days(daily),
        per_trade,
        groups,
        [text for text in texts[0] if text not in texts[1]],
        [text for text in texts[1] if text not in texts[0]],
    )


def _closed(trades: pd.DataFrame) -> pd.DataFrame:
    return trades[trades["reason"] != OPEN]


def _results(trades: pd.DataFrame) -> tuple[FloatArray, IntArray]:
    return trades["r"].to_numpy(dtype=np.float64), trades["entry_ms"].to_numpy(dtype=np.int64)


def _groups(first: pd.DataFrame, second: pd.DataFrame) -> list[Group]:
    keyed = [one.drop_duplicates(_IDENTITY).set_index(_IDENTITY)["r"] for one in (first, second)]
    shared = keyed[0].index.intersection(keyed[1].index)
    alone = [one[~one.index.isin(shared)] for one in keyed]
    return [
        Group("both took", len(shared), _mean(keyed[0].loc[shared]), _mean(keyed[1].loc[shared])),
        Group("the first alone took", len(alone[0]), _mean(alone[0]), math.nan),
        Group("the second alone took", len(alone[1]), math.nan, _mean(alone[1])),
    ]


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else math.nan
