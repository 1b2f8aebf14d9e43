"""Whether a venue still differs from mainnet as the table says: it is asked for what it is said not to have."""

from __future__ import annotations

from contextlib import closing

from trading_assets.core.errors import SymbolUnavailableError
from trading_assets.core.settings import Settings
from trading_assets.venues.bybit import BybitVenue


def told_differences(settings: Settings) -> tuple[str, bool]:
    """What this system does without, at the venue of the settings; and whether the venue answers otherwise.

    Raises:
        ExchangeError: the venue refuses the key, or cannot be asked.
    """
    adapter = settings.venue.adapter
    if not isinstance(adapter, BybitVenue):
        return "none: an embedded exchange", False
    missing = adapter.profile.missing
    with closing(adapter.fully_asking().open_exchange(settings)) as exchange:
        found = {"get_api_key_information": exchange.api_key() is not None}
        try:
            found["get_fee_rates"] = bool(exchange.fee_rates())
        except SymbolUnavailableError:
            found["get_fee_rates"] = False
    odd = [name for name, there in found.items() if there is (name in missing)]
    if odd:
        told = ", ".join(odd)
        return f"{settings.venue.value} answers otherwise than docs/venues.md says: {told}; tell the project", True
    without = [f"no {name}: {text}" for name, text in missing.items()]
    return "; ".join([*without, f"orders are kept {adapter.profile.order_days} days"]), False
