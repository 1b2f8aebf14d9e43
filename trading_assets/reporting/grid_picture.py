"""Pictures of a grid, as PNG: its levels, the orders that wait, its fills and the price; of a backtest equity, too."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from trading_assets.core.candles import Candles
from trading_assets.core.models import Side
from trading_assets.trading.grid.backtest import GridBacktest
from trading_assets.trading.grid.status import GridStatus

_BUY, _SELL, _STOP, _PRICE, _EMPTY = "#059669", "#dc2626", "#7c2d12", "#4f46e5", "#d1d5db"


def draw(status: GridStatus, candles: Candles | None = None) -> bytes:
    """Draw a grid.

    Args:
        candles: of the price since its start; None: without the price's way.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    grid = status.grid
    for price in sorted({cell.row.low for cell in status.cells} | {cell.row.high for cell in status.cells}):
        axes.axhline(float(price), color=_EMPTY, linewidth=0.6)
    for cell in status.cells:
        if cell.order is not None and cell.order.price is not None:
            colour = _BUY if cell.order.side is Side.BUY else _SELL
            axes.axhline(float(cell.order.price), color=colour, linewidth=1.1, linestyle="--")
    for stop in (grid.stop_low, grid.stop_high):
        if stop is not None:
            axes.axhline(float(stop), color=_STOP, linewidth=1.6)
    if candles is not None and len(candles):
        times = [datetime.fromtimestamp(int(one) / 1000, UTC) for one in candles.start_ms]
        axes.plot(times, candles.close, color=_PRICE, linewidth=1, label="price")  # type: ignore[arg-type]
    for side, colour, marker in ((Side.BUY, _BUY, "^"), (Side.SELL, _SELL, "v")):
        rows = [row for row in status.fills if row.side is side]
        if rows:
            moments = [datetime.fromtimestamp(row.time_ms / 1000, UTC) for row in rows]
            label = f"{len(rows)} fills, {side.value}"
            axes.scatter(moments, [float(row.price) for row in rows], c=colour, marker=marker, s=28, label=label)  # type: ignore[arg-type]
    found = status.figures
    axes.set_title(
        f"{grid.symbol} {grid.kind} grid, {grid.state}: grid profit {found.grid_profit:+.2f}, inventory "
        f"{found.inventory_pnl:+.2f}, in all {found.total:+.2f} USD",
        fontsize=10,
    )
    axes.set_ylabel("USDT")
    axes.tick_params(axis="x", labelrotation=20, labelsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def draw_backtest(found: GridBacktest) -> bytes:
    """Draw a backtest: price with bounds, levels, stops and fills; what it held; what it had come to."""
    from matplotlib.figure import Figure

    result = found.proven
    bars, plan = result.bars, result.plan
    figure = Figure(figsize=(10, 8), dpi=90, layout="constrained")
    price, held, money = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1, 1])
    times = [datetime.fromtimestamp(int(one) / 1000, UTC) for one in bars.end_ms]
    for level in sorted({one.low for one in result.levels} | {one.high for one in result.levels}):
        price.axhline(float(level), color=_EMPTY, linewidth=0.6)
    for stop in (plan.stop_low, plan.stop_high):
        if stop is not None:
            price.axhline(float(stop), color=_STOP, linewidth=1.6)
    for time_ms, low, high in result.bounds[1:]:
        price.axvline(datetime.fromtimestamp(time_ms / 1000, UTC), color=_EMPTY)
        price.annotate(f"{low} .. {high}", (datetime.fromtimestamp(time_ms / 1000, UTC), float(high)), fontsize=7)
    price.plot(times, bars.close, color=_PRICE, linewidth=0.9, label="price")
    for side, colour, marker in ((Side.BUY, _BUY, "^"), (Side.SELL, _SELL, "v")):
        rows = [row for row in result.fills if row.side is side]
        if rows:
            moments = [datetime.fromtimestamp(row.time_ms / 1000, UTC) for row in rows]
            label = f"{len(rows)} fills, {side.value}"
            price.scatter(moments, [float(row.price) for row in rows], c=colour, marker=marker, s=20, label=label)
    price.legend(fontsize=8, loc="upper left")
    price.set_ylabel("USDT")
    held.step(times, result.inventory, where="post", color=_STOP, linewidth=0.9)
    held.axhline(0, color=_EMPTY, linewidth=0.8)
    held.set_ylabel("holds, coins")
    money.plot(times, result.equity, color=_PRICE, linewidth=0.9)
    money.axhline(0, color=_EMPTY, linewidth=0.8)
    money.set_ylabel("in all, USD")
    money.tick_params(axis="x", labelrotation=20, labelsize=8)
    figures = result.figures
    price.set_title(
        f"{plan.symbol} {plan.kind} grid, {result.state} at the end: grid profit {figures.grid_profit:+.2f}, inventory "
        f"{figures.inventory_pnl:+.2f}, funding {-figures.funding:+.2f}, in all {figures.total:+.2f} USD",
        fontsize=10,
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
