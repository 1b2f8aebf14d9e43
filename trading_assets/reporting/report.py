"""What a report holds. `page` draws it, `figures` computes its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from trading_assets.core.candles import FloatArray
from trading_assets.reporting.evidence import Evidence
from trading_assets.reporting.figures import Curve, Figures
from trading_assets.reporting.matched import MatchedBenchmark, share_interval
from trading_assets.reporting.trade_chart import ChartPage


@dataclass(frozen=True)
class Track:
    """One account's way through the range: its curve, trades (`figures.TRADE_COLUMNS`) and numbers.

    `exposure` is the value of all positions at the curve's hours, USD; None for one that is not traded.
    """

    curve: Curve
    trades: pd.DataFrame
    figures: Figures
    exposure: FloatArray


@dataclass(frozen=True)
class RandomBaseline:
    """Accounts that chose at random, each with a draw of its own, at the curves' hours.

    Attributes:
        low, high: 5 % and 95 % of them lie below at each hour, USD.
        ends: what each of them ended with, USD, shape (choices,).
        compared: what the selections of the same hours ended with, USD.
    """

    low: FloatArray
    high: FloatArray
    ends: FloatArray
    compared: float

    @property
    def behind(self) -> int:
        """How many of them ended with less than the selections."""
        return int((self.ends < self.compared).sum())

    @property
    def rank_interval(self) -> tuple[float, float]:
        """Where the share of all possible random choices that end with less lies with 95 % confidence."""
        return share_interval(self.behind, len(self.ends))


@dataclass(frozen=True)
class Report:
    """One page.

    Attributes:
        kind: names its file: walk_forward or performance.
        main: what the report is about.
        beside: what it is compared with, in the order shown; they have trades, too.
        sample: the random choices of which one stands `beside`; None without any.
        matched: the trades held against random entries in their place; None where nothing was traded.
        holding: BTCUSDT bought at the start and held; None where its candles are missing.
        under_costs: the main account's numbers, had fills cost by each of `engine.COST_MODELS`.
        facts: what was looked at, by name, as text.
        refused: trades not taken, by the limit that refused them.
        notes: what happened that a reader must know: halts, failures, missing data.
        assumptions: what the numbers rest on, a sentence each.
        trade_page: each trade on its candles; None where that was not made.
        evidence: what the answers of its first screen rest on.
    """

    kind: str
    title: str
    start_ms: int
    end_ms: int
    main: Track
    beside: Sequence[Track]
    holding: Curve | None
    sample: RandomBaseline | None = None
    matched: MatchedBenchmark | None = None
    under_costs: Mapping[str, Figures] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    assumptions: Sequence[str] = ()
    trade_page: ChartPage | None = None
    evidence: Evidence | None = None

    @property
    def curves(self) -> list[Curve]:
        """Every curve, the main one first."""
        return [self.main.curve, *(track.curve for track in self.beside), *([self.holding] if self.holding else [])]
