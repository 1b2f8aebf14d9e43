"""The embedded exchange: Bybit's connector, pointed at the project's own simulator, which starts on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trading_assets.venues.bybit import PRIVATE_STREAM, PUBLIC_STREAM, SYMBOLS

if TYPE_CHECKING:
    from trading_assets.core.ports import Exchange, MarketData, VenueSymbols
    from trading_assets.core.settings import Settings
    from trading_assets.core.streams import AccountEvent, AccountStream, CandleStream, StreamEvent, Topic
    from trading_assets.core.timeframes import Timeframe
    from trading_assets.exchange.keys import ApiKeys
    from trading_assets.exchange.transport import Transport


@dataclass(frozen=True)
class EmbeddedVenue:
    """See `trading_assets.core.ports.VenueAdapter`. Its clock is virtual, and its keys are well known.

    Raises (whatever opens or calls it):
        ExchangeUnavailableError: the embedded exchange cannot be started.
    """

    is_simulated: bool = True
    is_real_money: bool = False
    symbols: VenueSymbols = SYMBOLS
    candle_folder: str = "simulator"

    def open_exchange(self, settings: Settings) -> Exchange:
        """The account."""
        from trading_assets.exchange.bybit import BybitExchange  # noqa: PLC0415

        return BybitExchange(
            _transport(settings, account_keys()),
            virtual_clock=True,
            max_clock_offset_ms=settings.max_clock_offset_ms,
            market=lambda: _market(settings),
            finest=lambda: _finest(settings),
        )

    def open_market_data(self, settings: Settings) -> MarketData:
        """Public data."""
        from trading_assets.exchange.bybit import BybitMarketData  # noqa: PLC0415

        return BybitMarketData(
            _transport(settings, None),
            virtual_clock=True,
            market=lambda: _market(settings),
            finest=lambda: _finest(settings),
        )

    def open_candle_stream(
        self, settings: Settings, topics: Sequence[Topic], deliver: Callable[[StreamEvent], None]
    ) -> CandleStream:
        """Candles of linear contracts. The exchange may have moved between two connections."""
        from trading_assets.exchange.stream import BybitCandleStream  # noqa: PLC0415

        return BybitCandleStream(
            lambda: _stream_url(settings, PUBLIC_STREAM), topics, deliver, silence_s=settings.stream_silence_s
        )

    def open_account_stream(self, settings: Settings, deliver: Callable[[AccountEvent], None]) -> AccountStream:
        """The account's changes."""
        from trading_assets.exchange.account_stream import BybitAccountStream  # noqa: PLC0415

        # Its clock is virtual: the signature ends by the exchange's own time.
        now_ms = self.open_market_data(settings).now_ms
        return BybitAccountStream(lambda: _stream_url(settings, PRIVATE_STREAM), account_keys(), deliver, now_ms)


EMBEDDED = EmbeddedVenue()


def account_keys() -> ApiKeys:
    """The pair that the embedded exchange knows; it guards nothing."""
    from pydantic import SecretStr  # noqa: PLC0415

    from trading_assets.exchange.keys import ApiKeys  # noqa: PLC0415
    from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET  # noqa: PLC0415

    return ApiKeys(SecretStr(DEFAULT_API_KEY), SecretStr(DEFAULT_API_SECRET))


def _market(settings: Settings) -> str:
    """The market that the running exchange plays, as it says itself. Raises as `_told`."""
    answer = _told(settings)
    return str(answer.get("market") or f"seeded market, seed {answer['seed']}")


def _finest(settings: Settings) -> Timeframe:
    """The shortest of the traded timeframes of which the running exchange has candles. Raises as `_told`."""
    from trading_assets.core.timeframes import TRADED_TIMEFRAMES  # noqa: PLC0415

    minutes = int(_told(settings).get("finest_minutes", 1))
    return next((one for one in TRADED_TIMEFRAMES if one.minutes >= minutes), TRADED_TIMEFRAMES[-1])


def _told(settings: Settings) -> dict[str, Any]:
    """What the running exchange says of itself.

    Raises:
        ExchangeUnavailableError: it does not answer.
    """
    from trading_assets.core.errors import ExchangeUnavailableError  # noqa: PLC0415
    from trading_assets.simulator.launcher import ensure_running, health  # noqa: PLC0415

    url = ensure_running(settings)
    answer = health(url)
    if answer is None:
        raise ExchangeUnavailableError(f"the embedded exchange at {url} does not say which market it plays")
    return answer


def _stream_url(settings: Settings, path: str) -> str:
    """Where the exchange streams now: it may have moved between two connections."""
    from trading_assets.simulator.launcher import ensure_running  # noqa: PLC0415

    return ensure_running(settings).replace("http", "ws", 1) + path


def _transport(settings: Settings, keys: ApiKeys | None) -> Transport:
    from trading_assets.simulator.launcher import ensure_running  # noqa: PLC0415

    # An exchange that somebody else runs may refuse who asks too often, as `exchange serve` does.
    return embedded_transport(
        settings, keys, lambda: ensure_running(settings), limited=settings.simulator_url is not None
    )


def embedded_transport(
    settings: Settings, keys: ApiKeys | None, reconnect: Callable[[], str], *, limited: bool
) -> Transport:
    """Calls of an exchange of this project's; `reconnect` starts it where it does not run, and gives its URL."""
    from trading_assets.exchange.connection import Connection  # noqa: PLC0415
    from trading_assets.exchange.transport import Transport  # noqa: PLC0415

    connection = Connection(
        url=reconnect(),
        keys=keys,
        timeout_s=settings.request_timeout_s,
        recv_window_ms=settings.recv_window_ms,
        limits_dir=settings.limits_dir,
    )
    return Transport(connection, reconnect=reconnect, limited=limited)
