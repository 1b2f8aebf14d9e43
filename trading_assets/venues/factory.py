"""Opens the connector that the settings ask for. Nothing is read or started before it is called."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr

from trading_assets.core.ports import Exchange, MarketData
from trading_assets.core.settings import Settings, Venue
from trading_assets.exchange.bybit import BybitExchange, BybitMarketData
from trading_assets.exchange.keys import ApiKeys, load_keys
from trading_assets.exchange.transport import Connection, Transport

_PUBLIC_STREAM = "/v5/public/linear"


def open_exchange(settings: Settings) -> Exchange:
    """The venue with its account. Whether its key may trade, `exchange.keys.require_trading_key` tells.

    Raises:
        MissingKeysError: the venue needs an API key.
        ConfigurationError: the secrets manager cannot be asked.
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """
    return BybitExchange(
        _transport(settings, account_keys(settings)),
        virtual_clock=settings.venue is Venue.SIMULATOR,
        max_clock_offset_ms=settings.max_clock_offset_ms,
    )


def open_market_data(settings: Settings) -> MarketData:
    """The venue's public data; needs no key.

    Raises:
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """
    return BybitMarketData(_transport(settings, None), virtual_clock=settings.venue is Venue.SIMULATOR)


def candle_stream_url(settings: Settings) -> Callable[[], str]:
    """Gives the address of the venue's public stream of linear contracts. The embedded exchange may move between calls.

    Raises (when called):
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """
    if settings.venue is Venue.SIMULATOR:
        from trading_assets.simulator.launcher import ensure_running  # noqa: PLC0415

        return lambda: ensure_running(settings).replace("http", "ws", 1) + _PUBLIC_STREAM
    # Demo trading has no public stream of its own: it trades on the candles of mainnet.
    host = "stream-testnet.bybit.com" if settings.venue is Venue.TESTNET else "stream.bybit.com"
    return lambda: f"wss://{host}{_PUBLIC_STREAM}"


def account_keys(settings: Settings) -> ApiKeys:
    """The keys of the venue's account; the embedded exchange has a well-known pair.

    Raises as `open_exchange` does.
    """
    if settings.venue is not Venue.SIMULATOR:
        return load_keys(settings)
    from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET  # noqa: PLC0415

    return ApiKeys(SecretStr(DEFAULT_API_KEY), SecretStr(DEFAULT_API_SECRET))


def _transport(settings: Settings, keys: ApiKeys | None) -> Transport:
    simulated = settings.venue is Venue.SIMULATOR
    reconnect: Callable[[], str] | None = None
    if simulated:
        # Only this venue needs the server's code, and only now.
        from trading_assets.simulator.launcher import ensure_running  # noqa: PLC0415

        def reconnect() -> str:
            return ensure_running(settings)

    connection = Connection(
        url=reconnect() if reconnect is not None else None,
        testnet=settings.venue is Venue.TESTNET,
        # Demo trading has no market data of its own that differs: api-demo serves all market endpoints.
        demo=settings.venue is Venue.DEMO,
        keys=keys,
        timeout_s=settings.request_timeout_s,
        recv_window_ms=settings.recv_window_ms,
        limits_dir=settings.limits_dir,
    )
    # An exchange that somebody else runs may refuse who asks too often, as `exchange serve` does.
    return Transport(connection, reconnect=reconnect, spaced=not simulated or settings.simulator_url is not None)
