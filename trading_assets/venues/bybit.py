"""Bybit's venues: demo trading, testnet and mainnet. Their connector is imported when one of them is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trading_assets.core.ports import VenueSymbols
from trading_assets.exchange import BTC, SETTLE_COIN, venue_profiles
from trading_assets.exchange.venue_profiles import VenueProfile

if TYPE_CHECKING:
    from trading_assets.core.ports import Exchange, MarketData
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import AccountEvent, AccountStream, CandleStream, StreamEvent, Topic
    from trading_assets.exchange.keys import ApiKeys
    from trading_assets.exchange.transport import Transport

REGIONS = {
    "com": ("bybit", "com"),
    "nl": ("bybit", "nl"),
    "tr": ("bybit-tr", "com"),
    "kz": ("bybit", "kz"),
    "ge": ("bybitgeorgia", "ge"),
    "ae": ("bybit", "ae"),
    "id": ("bybit", "id"),
    "jp": ("bybit", "jp"),
    "eu": ("bybit", "eu"),
}
"""Domain and top-level domain of Bybit's sites, by the setting `bybit_region`. A key works at its own site alone."""

PUBLIC_STREAM, PRIVATE_STREAM = "/v5/public/linear", "/v5/private"
SYMBOLS = VenueSymbols(btc=BTC, settle_coin=SETTLE_COIN)


@dataclass(frozen=True)
class BybitVenue:
    """One of Bybit's own venues, at the site of the settings' region. See `trading_assets.core.ports.VenueAdapter`.

    Attributes:
        profile: how it differs from the others.
        url: of an exchange in its role; None is Bybit itself.
    """

    profile: VenueProfile = venue_profiles.MAINNET
    url: str | None = None
    is_real_money: bool = False
    is_simulated: bool = field(default=False, init=False)
    symbols: VenueSymbols = field(default=SYMBOLS, init=False)

    @property
    def testnet(self) -> bool:
        """Whether it has a market, and keys, of its own."""
        return not self.profile.shares_mainnets_market

    def fully_asking(self) -> BybitVenue:
        """The same venue, asked also for what it is said not to have: to see whether that is so."""
        return replace(self, profile=replace(self.profile, missing={}))

    @property
    def candle_folder(self) -> str:
        """Demo trading and mainnet share a market."""
        return "testnet" if self.testnet else "bybit"

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
            market=self._market,
        )

    def open_market_data(self, settings: Settings) -> MarketData:
        """Public data; needs no key."""
        from trading_assets.exchange.bybit import BybitMarketData  # noqa: PLC0415

        return BybitMarketData(self._transport(settings, None), virtual_clock=False, market=self._market)

    def open_candle_stream(
        self, settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
    ) -> CandleStream:
        """Candles of linear contracts. Demo trading has no public stream of its own: it trades on mainnet's candles."""
        from trading_assets.exchange.stream import BybitCandleStream  # noqa: PLC0415

        url = self._stream_url(self.profile.public_stream, settings, PUBLIC_STREAM)
        return BybitCandleStream(lambda: url, topics, deliver, silence_s=settings.stream_silence_s)

    def open_account_stream(self, settings: Settings, deliver: Callable[[AccountEvent], None]) -> AccountStream:
        """The account's changes. Demo trading has a private stream of its own.

        Raises:
            MissingKeysError: the venue needs an API key.
            ConfigurationError: the secrets manager cannot be asked, or holds the keys of another venue.
        """
        from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
        from trading_assets.exchange.account_stream import BybitAccountStream  # noqa: PLC0415
        from trading_assets.exchange.keys import load_keys  # noqa: PLC0415

        url = self._stream_url(self.profile.private_stream, settings, PRIVATE_STREAM)
        return BybitAccountStream(lambda: url, load_keys(settings, testnet=self.testnet), deliver, local_ms)

    def _market(self) -> str:
        from trading_assets.exchange.bybit import BYBIT, BYBIT_TESTNET  # noqa: PLC0415

        return BYBIT_TESTNET if self.testnet else BYBIT

    def _transport(self, settings: Settings, keys: ApiKeys | None) -> Transport:
        from trading_assets.exchange.connection import Connection  # noqa: PLC0415
        from trading_assets.exchange.transport import Transport  # noqa: PLC0415

        domain, tld = REGIONS[settings.bybit_region]
        return Transport(
            Connection(
                url=self.url,
                domain=domain,
                tld=tld,
                testnet=self.profile.rest == venue_profiles.TESTNET.rest,
                # Demo trading has no market data of its own that differs: api-demo serves all market endpoints.
                demo=self.profile.rest == venue_profiles.DEMO.rest,
                missing=frozenset(self.profile.missing),
                keys=keys,
                timeout_s=settings.request_timeout_s,
                recv_window_ms=settings.recv_window_ms,
                limits_dir=settings.limits_dir,
            )
        )

    def _stream_url(self, host: str, settings: Settings, path: str) -> str:
        if self.url is not None:
            return self.url.replace("http", "ws", 1) + path
        return stream_url(host, settings.bybit_region, path)


def stream_url(host: str, region: str, path: str) -> str:
    """Where Bybit streams, at the site of a region."""
    domain, tld = REGIONS[region]
    return f"wss://{host}.{domain}.{tld}{path}"


DEMO = BybitVenue(venue_profiles.DEMO)
TESTNET = BybitVenue(venue_profiles.TESTNET)
MAINNET = BybitVenue(is_real_money=True)
PUBLIC = BybitVenue()
"""Mainnet's market without an account."""
