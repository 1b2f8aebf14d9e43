"""Which connector, candle stream and symbols the setting `venue` means. A venue is one module here, and one line in
`trading_assets.core.settings.Venue`; docs/howto/add_venue.md shows how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trading_assets.core.ports import Exchange, MarketData
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import AccountEvent, AccountStream, CandleStream, StreamEvent, Topic


def open_exchange(settings: Settings) -> Exchange:
    """The venue with its account. Whether its key may trade, `venues.keys.require_trading_key` tells.

    Raises:
        MissingKeysError: the venue needs an API key.
        ConfigurationError: the secrets manager cannot be asked.
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """
    return settings.venue.adapter.open_exchange(settings)


def open_market_data(settings: Settings) -> MarketData:
    """The venue's public data; needs no key.

    Raises:
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """
    return settings.venue.adapter.open_market_data(settings)


def open_candle_stream(
    settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
) -> CandleStream:
    """A stream of the venue's candles, not started yet. `deliver` is called in its thread, and returns at once."""
    return settings.venue.adapter.open_candle_stream(settings, topics, deliver)


def open_account_stream(settings: Settings, deliver: Callable[[AccountEvent], None]) -> AccountStream:
    """A stream of the account's changes, not started yet. `deliver` is called in its thread, and returns at once.

    Raises:
        MissingKeysError: the venue needs an API key.
    """
    return settings.venue.adapter.open_account_stream(settings, deliver)
