"""Real history that was imported: a market without an exchange, and without an account. Nothing is traded on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from trading_assets.core.errors import ConfigurationError
from trading_assets.venues.bybit import SYMBOLS

if TYPE_CHECKING:
    from trading_assets.core.ports import Exchange, MarketData, VenueSymbols
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import AccountEvent, AccountStream, CandleStream, StreamEvent, Topic


@dataclass(frozen=True)
class HistoryVenue:
    """See `trading_assets.core.ports.VenueAdapter`. It is not simulated, so that no schedule or sensor runs by itself:
    its clock stands.

    Raises (whatever opens an account or a stream):
        ConfigurationError: there is none.
    """

    is_simulated: bool = False
    is_real_money: bool = False
    symbols: VenueSymbols = SYMBOLS
    candle_folder: str = "history"

    def open_market_data(self, settings: Settings) -> MarketData:
        """The library of the home.

        Raises:
            ConfigurationError: nothing was imported into it yet.
        """
        from trading_assets.history.library import FOLDER, Library  # noqa: PLC0415
        from trading_assets.history.market import HistoryMarket  # noqa: PLC0415

        return HistoryMarket(Library(settings.home / FOLDER))

    def open_exchange(self, settings: Settings) -> Exchange:
        _refuse()

    def open_candle_stream(
        self, settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
    ) -> CandleStream:
        _refuse()

    def open_account_stream(self, settings: Settings, deliver: Callable[[AccountEvent], None]) -> AccountStream:
        _refuse()


HISTORY = HistoryVenue()


def _refuse() -> NoReturn:
    raise ConfigurationError(
        "the venue history has no account: research on it is never traded. To trade, use another venue "
        "(TRADING_ASSETS_VENUE) in a home of its own (TRADING_ASSETS_HOME)"
    )
