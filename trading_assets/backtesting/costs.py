"""Costs and size of simulated trades: from settings, to the columns of a row, and from a stored row back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trading_assets.backtesting.engine import COST_MODELS, Costs, LimitEntry
from trading_assets.core.models import EntryOrder
from trading_assets.core.settings import Settings
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.registry import strategy_classes


def costs_from(settings: Settings) -> Costs:
    """Costs and size of a simulated trade."""
    entry = None
    if settings.entry_order is not EntryOrder.MARKET:
        entry = _limit_entry(
            settings.entry_order,
            float(settings.entry_offset_pct),
            settings.entry_bars,
            settings.maker_fee,
            float(settings.max_price_deviation_pct),
        )
    return Costs(
        settings.taker_fee,
        settings.slippage_bps / 10_000,
        settings.backtest_notional,
        settings.liquidation_distance,
        entry=entry,
    ).under(settings.cost_model)


def _limit_entry(
    kind: EntryOrder, offset_pct: float, bars: float, maker_fee: float, deviation_pct: float
) -> LimitEntry:
    return LimitEntry(kind, offset_pct / 100, int(bars), maker_fee, deviation_pct / 100)


def declared_entries(settings: Settings) -> dict[str, LimitEntry | None]:
    """How the positions of strategies that declare it are entered, by their names; None: at the market."""
    declared = (name for name, kind in strategy_classes().items() if kind.entry is not None)
    return {name: costs_from(as_declared(settings, name)).entry for name in declared}


def cost_columns(settings: Settings) -> dict[str, str | float | None]:
    """What `costs_of` reads of a row, as columns of the rows made under the settings."""
    waits = settings.entry_order is not EntryOrder.MARKET
    return {
        "entry_order": settings.entry_order.value if waits else None,
        "entry_offset_pct": float(settings.entry_offset_pct) if waits else math.nan,
        "entry_bars": float(settings.entry_bars) if waits else math.nan,
        "maker_fee": settings.maker_fee if waits else math.nan,
        "entry_deviation_pct": float(settings.max_price_deviation_pct) if waits else math.nan,
        "taker_fee": settings.taker_fee,
        "slippage_bps": settings.slippage_bps,
        "cost_model": settings.cost_model,
        "notional": settings.backtest_notional,
        "liquidation_distance": settings.liquidation_distance,
    }


def costs_of(row: Mapping[str, Any], settings: Settings) -> Costs:
    """Costs and size that a stored backtest was made with, whatever the settings are now; theirs where the row is of an
    older version and does not tell."""
    model = row.get("cost_model")
    if not isinstance(model, str) or model not in COST_MODELS:
        return costs_from(settings)
    fee, slippage_bps, notional, liquidation = (
        float(row[name]) for name in ("taker_fee", "slippage_bps", "notional", "liquidation_distance")
    )
    entry, order = None, row.get("entry_order")
    if isinstance(order, str):
        numbers = (float(row[name]) for name in ("entry_offset_pct", "entry_bars", "maker_fee", "entry_deviation_pct"))
        entry = _limit_entry(EntryOrder(order), *numbers)
    return Costs(fee, slippage_bps / 10_000, notional, liquidation, entry=entry).under(model)
