"""Settings of trials: gates that stand open, an account with money, a market of some contracts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading_assets.core.settings import Settings

SYMBOLS = 21
DEPOSIT = Decimal(1_000_000)

OPEN_GATES: Mapping[str, Any] = {
    "max_positions": 100,
    "max_price_deviation_pct": 50,
    "max_spread_pct": 50,
    "min_entry_volume": 0,
    "max_daily_loss_pct": 100,
    "max_drawdown_pct": 100,
    "max_symbol_exposure_pct": 10_000,
    "max_total_exposure_pct": 10_000,
    "cooldown_after_stop_s": 0,
    "pause_after_stops_s": 0,
    "weak_symbol_hours": 0,
}
"""Settings in which every gate stands open: what is tried here comes after them."""


def settings_of(home: Path, seed: int, **more: Any) -> Settings:
    """Of a trial: all gates stand open."""
    return Settings(
        _env_file=None,
        home=home,
        simulator_seed=seed,
        simulator_symbols=SYMBOLS,
        simulator_deposit=DEPOSIT,
        simulator_idle_stop_s=120,
        leverage=Decimal(7),  # not what a contract begins with
        **OPEN_GATES,
        **more,
    )
