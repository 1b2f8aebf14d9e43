"""What a pass over DCA plans did."""

from __future__ import annotations

from dataclasses import dataclass, field

from trading_assets.core.timeframes import iso


@dataclass
class DcaReport:
    """What a pass did.

    Attributes:
        busy: who keeps the plans meanwhile; empty where it is this process.
        skipped: scheduled times that got no order.
        failed: what kept a plan from being looked after, by symbol.
        ended: symbols whose plan ended in this pass.
        next_ms: the next scheduled time of any plan, UTC ms; None where there is none.
    """

    busy: str = ""
    plans: int = 0
    placed: int = 0
    cancelled: int = 0
    fills: int = 0
    skipped: int = 0
    stops_set: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    next_ms: int | None = None

    @property
    def acted(self) -> bool:
        """Whether anything was changed."""
        return bool(self.placed or self.cancelled or self.fills or self.skipped or self.stops_set or self.ended)

    def __str__(self) -> str:
        if self.busy:
            return f"DCA plans are kept by {self.busy}"
        text = f"{self.plans} DCA plans, {self.fills} fills, {self.placed} orders placed, {self.cancelled} cancelled"
        if self.skipped:
            text += f", {self.skipped} scheduled times skipped"
        if self.ended:
            text += f"; ended: {', '.join(self.ended)}"
        if self.next_ms is not None:
            text += f"; due next at {iso(self.next_ms)}"
        return text + "".join(f"; {symbol}: {why}" for symbol, why in self.failed.items())
