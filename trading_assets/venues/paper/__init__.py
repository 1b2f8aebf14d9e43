"""Paper trading: Bybit's public market, and an account of the project's own embedded exchange. Needs no key.

Research and candles come from Bybit itself. Orders go to an embedded exchange on this machine that is told Bybit's
prices (`feed`); it starts on first use, and lives through the time in which it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading_assets.venues.bybit import PRIVATE_STREAM, SYMBOLS

if TYPE_CHECKING:
    from trading_assets.core.ports import Exchange, MarketData, VenueAdapter, VenueSymbols
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import AccountEvent, AccountStream, CandleStream, StreamEvent, Topic


@dataclass(frozen=True)
class PaperVenue:
    """See `trading_assets.core.ports.VenueAdapter`.

    Raises (whatever opens or calls it):
        ExchangeUnavailableError: the paper exchange, or the one whose prices it has, cannot be reached.
    """

    is_simulated: bool = True
    is_real_money: bool = False
    symbols: VenueSymbols = SYMBOLS
    candle_folder: str = "bybit"

    def open_market_data(self, settings: Settings) -> MarketData:
        """Bybit's own public data: the same market as that of demo trading and of mainnet."""
        source, of = _source(settings)
        return source.open_market_data(of)

    def open_candle_stream(
        self, settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
    ) -> CandleStream:
        """Bybit's own public stream."""
        source, of = _source(settings)
        return source.open_candle_stream(of, topics, deliver)

    def open_exchange(self, settings: Settings) -> Exchange:
        """The account on this machine; candles and funding are Bybit's."""
        from trading_assets.venues.embedded import account_keys, embedded_transport  # noqa: PLC0415
        from trading_assets.venues.paper.connector import PaperExchange  # noqa: PLC0415

        return PaperExchange(
            embedded_transport(settings, account_keys(), lambda: _running(settings), limited=False),
            self.open_market_data(settings),
            max_clock_offset_ms=settings.max_clock_offset_ms,
        )

    def open_account_stream(self, settings: Settings, deliver: Callable[[AccountEvent], None]) -> AccountStream:
        """The account's changes."""
        from trading_assets.exchange.account_stream import BybitAccountStream  # noqa: PLC0415
        from trading_assets.venues.embedded import account_keys  # noqa: PLC0415

        # Its time is the source's: the signature ends by that.
        now_ms = self.open_exchange(settings).now_ms
        return BybitAccountStream(
            lambda: _running(settings).replace("http", "ws", 1) + PRIVATE_STREAM, account_keys(), deliver, now_ms
        )


PAPER = PaperVenue()


def _source(settings: Settings) -> tuple[VenueAdapter, Settings]:
    """Whose market it is: Bybit's, or that of an embedded exchange in its role."""
    from trading_assets.venues.bybit import PUBLIC  # noqa: PLC0415
    from trading_assets.venues.embedded import EMBEDDED  # noqa: PLC0415

    if settings.paper_market_url is None:
        return PUBLIC, settings
    return EMBEDDED, settings.model_copy(update={"simulator_url": settings.paper_market_url})


def _running(settings: Settings) -> str:
    """URL of the paper exchange, started on first use."""
    from trading_assets.venues.paper.launching import ensure_running  # noqa: PLC0415

    return ensure_running(settings)
