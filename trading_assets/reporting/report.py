"""What a report holds, whoever made it. Its page is drawn in `page`, its numbers come from `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from trading_assets.market.candles import FloatArray
from trading_assets.reporting.figures import Curve, Figures


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
class Report:
    """One page.

    Attributes:
        kind: names its file: walk_forward or performance.
        main: what the report is about.
        beside: what it is compared with, in the order shown; the first has trades, too.
        holding: BTCUSDT bought at the start and held; None where its candles are missing.
        facts: what was looked at, by name, as text.
        refused: trades not taken, by what stood against them.
        notes: what happened that a reader must know: halts, failures, missing data.
        assumptions: what the numbers rest on, a sentence each.
    """

    kind: str
    title: str
    start_ms: int
    end_ms: int
    main: Track
    beside: Sequence[Track]
    holding: Curve | None
    facts: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    assumptions: Sequence[str] = ()

    @property
    def curves(self) -> list[Curve]:
        """Every curve, the main one first."""
        return [self.main.curve, *(track.curve for track in self.beside), *([self.holding] if self.holding else [])]
