"""Resources: lazy, cached handles on settings, database, candle store, exchange and notifier. No decisions."""

from trading_assets.defs.resources.runtime import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_known_names,
    require_market,
)

__all__ = [
    "CandleStoreResource",
    "DatabaseResource",
    "ExchangeResource",
    "NotifierResource",
    "SettingsResource",
    "default_resources",
    "require_known_names",
    "require_market",
]


def default_resources() -> dict[str, object]:
    """Every resource of the definitions but the IO manager, by key."""
    return {
        "settings": SettingsResource(),
        "database": DatabaseResource(),
        "candle_store": CandleStoreResource(),
        "exchange": ExchangeResource(),
        "notifier": NotifierResource(),
    }
