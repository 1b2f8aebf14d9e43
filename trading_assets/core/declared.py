"""What a strategy may declare of its own: how its positions are entered, and how large they are. Without one of these
it follows the settings."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.errors import StrategyError
from trading_assets.core.models import EntryOrder

SIZES = ("fixed", "equity", "risk", "confidence")


@dataclass(frozen=True)
class EntryRule:
    """How positions are entered: the settings `entry_order`, `entry_offset_pct` and `entry_bars` of a strategy's own.

    Attributes:
        offset_pct: how far below a long signal's close, above a short's, the entry waits, percent of it.
        bars: so many bars of the signal's timeframe it waits.

    Raises:
        StrategyError: a number is out of range.
    """

    order: EntryOrder
    offset_pct: float = 0.0
    bars: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.offset_pct < 50:
            raise StrategyError(f"an entry {self.offset_pct} % away; expected 0 to below 50")
        if not 1 <= self.bars <= 1000:
            raise StrategyError(f"an entry that waits {self.bars} bars; expected 1 to 1000")

    @property
    def settings(self) -> dict[str, object]:
        """The settings that it stands for."""
        if self.order is EntryOrder.MARKET:
            return {"entry_order": EntryOrder.MARKET}
        offset = Decimal(repr(float(self.offset_pct)))
        return {"entry_order": EntryOrder(self.order), "entry_offset_pct": offset, "entry_bars": self.bars}


@dataclass(frozen=True)
class SizeRule:
    """How large positions are: the settings `size_by` and `size_pct` of a strategy's own. All limits hold besides.

    Attributes:
        by: one of `SIZES`: the account's fixed size, a share of equity, the loss at the stop, the signal's confidence.
        pct: of the equity, where it goes by that.

    Raises:
        StrategyError: it is none of them, or the share is out of range.
    """

    by: str
    pct: float = 1.0

    def __post_init__(self) -> None:
        if self.by not in SIZES:
            raise StrategyError(f"a size by {self.by!r}; expected one of {', '.join(SIZES)}")
        if not 0 < self.pct <= 1000:
            raise StrategyError(f"a size of {self.pct} % of equity; expected above 0, at most 1000")

    @property
    def settings(self) -> dict[str, object]:
        """The settings that it stands for."""
        return {"size_by": self.by, "size_pct": Decimal(repr(float(self.pct)))}
