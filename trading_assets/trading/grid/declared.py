"""Which settings of grids the hour's research tries on each coin. Declared, and few: each is a try that luck has."""

from __future__ import annotations

from trading_assets.trading.grid.levels import Kind, Spacing
from trading_assets.trading.grid.shapes import Bounds, GridShape

DECLARED: tuple[GridShape, ...] = (
    GridShape(Kind.NEUTRAL, Spacing.GEOMETRIC, Bounds.ATR, width=3.0, levels=6, stop_beyond_pct=3.0),
    GridShape(Kind.NEUTRAL, Spacing.GEOMETRIC, Bounds.ATR, width=6.0, levels=12, stop_beyond_pct=5.0),
    GridShape(Kind.NEUTRAL, Spacing.GEOMETRIC, Bounds.BOLLINGER, width=3.0, levels=8, stop_beyond_pct=4.0),
    GridShape(Kind.LONG, Spacing.GEOMETRIC, Bounds.ATR, width=6.0, levels=8, stop_beyond_pct=5.0),
    GridShape(Kind.SHORT, Spacing.GEOMETRIC, Bounds.ATR, width=6.0, levels=8, stop_beyond_pct=5.0),
)
