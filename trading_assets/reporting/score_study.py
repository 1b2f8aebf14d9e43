"""Does the score predict? Figures of selections held against what following them earned. Nothing is simulated here.

A coin keeps its score for hours, and a move of the market is shared by many coins: pooled correlations call 69 % of
worthless scores significant. So the interval is that of whole paths: every coin gets the path of scores of another
coin, which keeps both kinds of likeness, and only the tie between a coin's score and its own results is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import pandas as pd

from trading_assets.backtesting import metrics
from trading_assets.backtesting.significance import seed_from
from trading_assets.core.candles import FloatArray
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.reporting.forward_test import ForwardTestResult
from trading_assets.reporting.trades import SelectedStrategy

PERMUTATIONS = 999
MIN_PAIRS, MIN_COINS, MIN_DAYS = 50, 5, 10
"""Fewer followed selections, coins or days say nothing."""

FIGURES: Mapping[str, str] = {
    "score": "score",
    "score_robust": "score with one more loss",
    "deflated_sharpe": "deflated Sharpe ratio",
    "one_less_p": "1 - p-value",
    "out_of_sample_pnl": "out-of-sample PnL",
}
"""What is held against the results, by column."""

TRADES_GROUPS = ((1, 9), (10, 19), (20, 49), (50, math.inf))


def with_figures(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `strategy_selections` with the columns of `FIGURES`."""
    return rows.assign(one_less_p=1 - rows["p_value"], score_robust=robust_score(rows))


def capped_score(rows: pd.DataFrame, cap: float) -> pd.Series:
    """The score with a lower cap of the profit factor."""
    return pd.Series(
        metrics.score(rows["win_rate"], rows["profit_factor"].clip(upper=cap), rows["total_trades"]), index=rows.index
    )


def robust_score(rows: pd.DataFrame) -> pd.Series:
    """The score as if there had been one more trade, lost, of half the size of a mean win (targets are twice the risk).

    Five wins without a loss then have a profit factor of 10 instead of the cap's 100.
    """
    factor, trades = rows["profit_factor"], rows["total_trades"]
    wins = rows["win_rate"] / 100 * trades
    # In units of the gross profit.
    loss = (1 / factor.where(factor > 0)).fillna(math.inf)
    shrunk = 1 / (loss + 0.5 / wins.clip(lower=1))
    return pd.Series(metrics.score(100 * wins / (trades + 1), shrunk, trades), index=rows.index)


def followed(rows: pd.DataFrame, tested: ForwardTestResult) -> pd.DataFrame:
    """The rows with what each earned in the hour after it: `followed_r` (mean of its trades, NaN without any),
    `followed_trades`.

    A bar on which two hours' selections decide alike is one trade, that of the older, as live.
    """
    chosen = [SelectedStrategy(*key) for key in rows[list(SelectedStrategy._fields[:5])].itertuples(index=False)]
    wanted, results = set(chosen), dict[SelectedStrategy, list[float]]()
    # Those that were followed may know the highest price of an order, which a row does not.
    for trade in tested.of(one for one in tested.trades if one._replace(max_price=math.inf) in wanted):
        results.setdefault(trade.selection._replace(max_price=math.inf), []).append(trade.r)
    found = [results.get(one, []) for one in chosen]
    return rows.assign(
        followed_r=np.array([np.mean(of_one) if of_one else math.nan for of_one in found], dtype=np.float64),
        followed_trades=np.array([len(of_one) for of_one in found], dtype=np.int64),
    )


@dataclass(frozen=True)
class Cell:
    """One figure in one group of selections.

    Attributes:
        group, value: such as `timeframe`, `15m`; `all`, `` for all of them.
        pairs, coins, days: followed selections with a trade and a figure, their coins and days.
        correlation: rank correlation (Spearman) of figure and mean R of the trades that followed.
        low, high: between these lie 95 % of the correlations when whole paths are given to other coins.
        p_value: two-sided, the tails apart; NaN where there are too few, as `correlation` and its interval.
    """

    figure: str
    group: str
    value: str
    pairs: int
    coins: int
    days: int
    correlation: float
    low: float
    high: float
    p_value: float

    @property
    def verdict(self) -> str:
        """In words."""
        if math.isnan(self.p_value):
            return "too few"
        if self.p_value > 0.05:
            return "nothing"
        return "predicts" if self.correlation > self.high else "predicts the opposite"


@dataclass(frozen=True)
class Earned:
    """What following a group of selections earned: mean R of a trade; its standard error takes days for independent."""

    group: str
    value: str
    selections: int
    trades: int
    mean_r: float
    error: float


def groups(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """All rows, and those of each strategy, timeframe and number of trades."""
    yield "all", "", rows
    for name, of in rows.groupby("strategy"):
        yield "strategy", str(name), of
    frames = sorted(rows["timeframe"].unique(), key=lambda name: Timeframe(name).ms)
    yield from (("timeframe", name, rows[rows["timeframe"] == name]) for name in frames)
    for low, high in TRADES_GROUPS:
        label = f"{low} or more" if high == math.inf else f"{low} to {high:g}"
        yield "trades", label, rows[rows["total_trades"].between(low, high)]
    at_cap = rows["profit_factor"] >= metrics.PROFIT_FACTOR_CAP
    yield "profit factor", "at the cap", rows[at_cap]
    yield "profit factor", "below the cap", rows[~at_cap]


def study(rows: pd.DataFrame, figures: Iterable[str] = FIGURES, *, permutations: int = PERMUTATIONS) -> list[Cell]:
    """Every figure in every group. `rows` as of `followed` and `with_figures`, of one preset."""
    return [
        predicts(of, figure, group, value, permutations=permutations)
        for group, value, of in groups(rows)
        for figure in figures
    ]


def earned(rows: pd.DataFrame) -> list[Earned]:
    """What each group earned."""
    return [mean_result(of, group, value) for group, value, of in groups(rows)]


def mean_result(rows: pd.DataFrame, group: str, value: str) -> Earned:
    """What one group earned."""
    traded = rows[rows["followed_trades"] > 0]
    trades = int(traded["followed_trades"].sum())
    if not trades:
        return Earned(group, value, len(rows), 0, math.nan, math.nan)
    total = (traded["followed_r"] * traded["followed_trades"]).groupby(traded["hour_ms"] // DAY_MS).sum()
    count = traded["followed_trades"].groupby(traded["hour_ms"] // DAY_MS).sum()
    mean = float(total.sum()) / trades
    error = math.sqrt(float(((total - mean * count) ** 2).sum())) / trades if len(total) > 1 else math.nan
    return Earned(group, value, len(rows), trades, mean, error)


def predicts(
    rows: pd.DataFrame, figure: str, group: str = "all", value: str = "", *, permutations: int = PERMUTATIONS
) -> Cell:
    """Whether a figure of selections goes with what they earn."""
    known = rows[rows[figure].notna()]
    pairs = known[known["followed_trades"] > 0]
    days, of_pairs = pairs["hour_ms"] // DAY_MS, sorted(pairs["symbol"].unique())
    cell = Cell(figure, group, value, len(pairs), len(of_pairs), days.nunique(), *(math.nan,) * 4)
    if cell.pairs < MIN_PAIRS or cell.coins < MIN_COINS or cell.days < MIN_DAYS:
        return cell
    coins = {name: at for at, name in enumerate(sorted(known["symbol"].unique()))}
    hours = {hour: at for at, hour in enumerate(sorted(known["hour_ms"].unique()))}
    paths = np.full((len(hours), len(coins)), math.nan)
    paths[known["hour_ms"].map(hours), known["symbol"].map(coins)] = known[figure].rank()
    # A coin that was not selected has what it had last: so every coin's path fits every other coin.
    paths = pd.DataFrame(paths).ffill().bfill().to_numpy()
    hour, coin = pairs["hour_ms"].map(hours).to_numpy(), pairs["symbol"].map(coins).to_numpy()
    results = np.array(pairs["followed_r"].rank(), dtype=np.float64)

    seen = _correlation(paths[hour, coin], results)
    if math.isnan(seen):
        return cell
    rng = np.random.default_rng(seed_from(("score", figure, group, value, len(rows))))
    others = (rng.permutation(len(coins)) for _ in range(permutations))
    by_chance = np.array([_correlation(paths[hour, other[coin]], results) for other in others])
    by_chance = np.where(np.isnan(by_chance), 0.0, by_chance)  # a path that never changes goes with nothing
    low, high = np.quantile(by_chance, [0.025, 0.975])
    # Not symmetric about zero: what all coins share in an hour stays in every draw.
    above, below = (by_chance >= seen - 1e-12).sum(), (by_chance <= seen + 1e-12).sum()
    p_value = min(1.0, 2 * (1 + int(min(above, below))) / (1 + len(by_chance)))
    return Cell(
        figure, group, value, cell.pairs, cell.coins, cell.days, seen, float(low), float(high), p_value
    )  # fmt: skip


def _correlation(x: FloatArray, y: FloatArray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / math.sqrt(float(x @ x) * float(y @ y)))


def of_presets(by_preset: Mapping[str, tuple[Sequence[Cell], object]]) -> list[Cell]:
    """What all selections of each preset say, for a picture."""
    return [
        replace(cell, group="", value=preset)
        for preset, (cells, _) in by_preset.items()
        for cell in cells
        if cell.group == "all"
    ]


_WIDTH, _ROW, _LEFT, _RIGHT = 760, 22, 300, 130
_INK, _SOFT, _DOT, _FOUND, _BAND = "#1f2937", "#6b7280", "#2563eb", "#d64545", "#d1d5db"


def picture(cells: Sequence[Cell], title: str) -> str:
    """SVG: a line a cell, the correlation as a dot on what chance alone gives; those of too few say so."""
    told = [cell for cell in cells if not math.isnan(cell.p_value)]
    widest = max([abs(one) for cell in told for one in (cell.low, cell.high, cell.correlation)] + [0.1])
    middle, scale = (_LEFT + _WIDTH - _RIGHT) / 2, (_WIDTH - _RIGHT - _LEFT) / 2 / widest
    height = 44 + _ROW * len(cells)
    parts = [f'<line x1="{middle}" x2="{middle}" y1="34" y2="{height - 8}" stroke="{_BAND}"/>']
    for place, cell in enumerate(cells):
        y = 50 + _ROW * place
        label = FIGURES.get(cell.figure, cell.figure) + (
            f", {cell.group} {cell.value}".replace(",  ", ", ") if cell.value else ""
        )
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        if math.isnan(cell.p_value):
            parts.append(f'<text x="{middle}" y="{y + 4}" text-anchor="middle" fill="{_SOFT}">too few</text>')
        else:
            low, high, at = (middle + scale * value for value in (cell.low, cell.high, cell.correlation))
            colour = _FOUND if cell.p_value <= 0.05 else _DOT
            parts.append(f'<rect x="{low:.1f}" y="{y - 4}" width="{high - low:.1f}" height="8" fill="{_BAND}"/>')
            parts.append(f'<circle cx="{at:.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
            text = f"{cell.correlation:+.3f}, p {cell.p_value:.3f}"
            parts.append(f'<text x="{_WIDTH - 6}" y="{y + 4}" text-anchor="end">{text}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}"><rect width="{_WIDTH}" height="{height}" fill="white"/>'
        f'<text x="12" y="20" font-weight="bold">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )
