"""Bybit's venues: demo trading, testnet and mainnet. Their connector is imported when one of them is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trading_assets.core.ports import VenueSymbols
from trading_assets.exchange import BTC, SETTLE_COIN

if TYPE_CHECKING:
    from trading_assets.core.ports import Exchange, MarketData
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import CandleStream, StreamEvent, Topic
    from trading_assets.exchange.keys import ApiKeys
    from trading_assets.exchange.transport import Transport

PUBLIC_STREAM = "/v5/public/linear"
SYMBOLS = VenueSymbols(btc=BTC, settle_coin=SETTLE_COIN)


@dataclass(frozen=True)
class BybitVenue:
    """One of Bybit's own venues. See `trading_assets.core.ports.VenueAdapter`.

    Attributes:
        rest_url: another host than Bybit's international one.
    """

    testnet: bool = False
    demo: bool = False
    rest_url: str | None = None
    stream_host: str = "stream.bybit.com"
    is_real_money: bool = False
    is_simulated: bool = field(default=False, init=False)
    symbols: VenueSymbols = field(default=SYMBOLS, init=False)

    def open_exchange(self, settings: Settings) -> Exchange:
        """The account. Whether its key may trade, `venues.keys.require_trading_key` tells.

        Raises:
            MissingKeysError: the venue needs an API key.
            ConfigurationError: the secrets manager cannot be asked, or holds the keys of another venue.
        """
        from trading_assets.exchange.bybit import BybitExchange  # noqa: PLC0415
        from trading_assets.exchange.keys import load_keys  # noqa: PLC0415

        return BybitExchange(
            self._transport(settings, load_keys(settings, testnet=self.testnet)),
            virtual_clock=False,
            max_clock_offset_ms=settings.max_clock_offset_ms,
        )

    def open_market_data(self, settings: Settings) -> MarketData:
        """Public data; needs no key."""
        from trading_assets.exchange.bybit import BybitMarketData  # noqa: PLC0415

        return BybitMarketData(self._transport(settings, None), virtual_clock=False)

    def open_candle_stream(
        self, settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
    ) -> CandleStream:
        """Candles of linear contracts. Demo trading has no public stream of its own: it trades on mainnet's candles."""
        from trading_assets.exchange.stream import BybitCandleStream  # noqa: PLC0415

        url = f"wss://{self.stream_host}{PUBLIC_STREAM}"
        return BybitCandleStream(lambda: url, topics, deliver, silence_s=settings.stream_silence_s)

    def _transport(self, settings: Settings, keys: ApiKeys | None) -> Transport:
        from trading_assets.exchange.transport import Connection, Transport  # noqa: PLC0415

        return Transport(
            Connection(
                url=self.rest_url,
                testnet=self.testnet,
                # Demo trading has no market data of its own that differs: api-demo serves all market endpoints.
                demo=self.demo,
                keys=keys,
                timeout_s=settings.request_timeout_s,
                recv_window_ms=settings.recv_window_ms,
                limits_dir=settings.limits_dir,
            )
        )


DEMO = BybitVenue(demo=True)
TESTNET = BybitVenue(testnet=True, stream_host="stream-testnet.bybit.com")
MAINNET = BybitVenue(is_real_money=True)
