"""A picture of a DCA plan: price, what was bought and closed, average entry, stop and target, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trading_assets.core.candles import Candles
from trading_assets.core.models import Side
from trading_assets.trading.dca.status import PlanStatus

_OPEN, _CLOSE, _STOP, _TARGET, _AVERAGE, _PRICE = "#059669", "#dc2626", "#7c2d12", "#0891b2", "#d97706", "#4f46e5"


@dataclass(frozen=True)
class Mark:
    """A fill in the picture: whether it opens, its time, UTC ms, and price."""

    opens: bool
    time_ms: int
    price: float


@dataclass(frozen=True)
class Line:
    """Average entry, stop and target from a moment on, UTC ms; None: there is none."""

    time_ms: int
    average: float | None
    stop: float | None
    target: float | None


def draw(title: str, candles: Candles | None, marks: Sequence[Mark], lines: Sequence[Line], end_ms: int) -> bytes:
    """Draw a plan, live or of a backtest.

    Args:
        candles: of the price since its start; None: without the price's way.
        lines: ascending; each holds until the next one, the last until `end_ms`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    if candles is not None and len(candles):
        moments = [_moment(int(one)) for one in candles.start_ms]
        axes.plot(moments, candles.close, color=_PRICE, linewidth=1, label="price")  # type: ignore[arg-type]
    times = [_moment(one.time_ms) for one in lines] + ([_moment(end_ms)] if lines else [])
    for name, colour in (("average", _AVERAGE), ("stop", _STOP), ("target", _TARGET)):
        found = [getattr(one, name) for one in lines]
        if any(one is not None for one in found):
            values = [float("nan") if one is None else one for one in [*found, found[-1]]]
            axes.step(times, values, where="post", color=colour, linewidth=1.3, label=name)  # type: ignore[arg-type]
    for opens, colour, marker, words in ((True, _OPEN, "^", "entries"), (False, _CLOSE, "v", "closings")):
        some = [one for one in marks if one.opens == opens]
        if some:
            moments = [_moment(one.time_ms) for one in some]
            label = f"{len(some)} {words}"
            axes.scatter(moments, [one.price for one in some], c=colour, marker=marker, s=28, label=label, zorder=3)  # type: ignore[arg-type]
    axes.set_title(title, fontsize=10)
    axes.set_ylabel("USDT")
    axes.tick_params(axis="x", labelrotation=20, labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def draw_status(status: PlanStatus, candles: Candles | None = None) -> bytes:
    """Draw a plan as the ledger has it: the levels are those of now."""
    row, accounts = status.row, status.accounts
    marks = [Mark(fill.side is row.side, fill.time_ms, float(fill.price)) for _, fill in accounts.fills]
    average, stop, target = accounts.books.average, status.level("stop"), status.level("target")
    lines = []
    if average is not None:
        since = next((fill.time_ms for _, fill in reversed(accounts.fills) if fill.side is row.side), row.created_ms)
        values = [None if one is None else float(one) for one in (average, stop, target)]
        lines = [Line(min(since, row.read_ms), *values)]
    side = "long" if row.side is Side.BUY else "short"
    title = (
        f"{row.symbol} {side} DCA plan, {row.schedule}, {row.state}: deployed {accounts.books.value:.2f}, closed "
        f"{accounts.books.profit:+.2f}, in all {accounts.total(status.mark):+.2f} USD"
    )
    return draw(title, candles, marks, lines, row.ended_ms or row.read_ms)


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
