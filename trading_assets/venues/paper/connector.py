"""The connector of paper trading: Bybit's, with the account on this machine and candles from Bybit itself."""

from __future__ import annotations

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.ports import MarketData
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange.bybit import BybitExchange, BybitMarketData
from trading_assets.exchange.transport import Transport


class PaperExchange(BybitExchange):
    """See `trading_assets.core.ports.Exchange`.

    Args:
        transport: to the paper exchange.
        source: the exchange whose prices it has.
    """

    def __init__(self, transport: Transport, source: MarketData, *, max_clock_offset_ms: int) -> None:
        super().__init__(
            transport,
            virtual_clock=True,  # its time is the source's
            max_clock_offset_ms=max_clock_offset_ms,
            market=source.market,
            finest=source.finest_timeframe,
        )
        self._source = source

    def clock_offset_ms(self) -> int:
        """The source's clock minus this machine's. Here nothing depends on it; with a key, orders would be refused."""
        return self._source.clock_offset_ms() if isinstance(self._source, BybitMarketData) else 0

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """The source's."""
        return self._source.candles(symbol, timeframe, start_ms, end_ms)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """The source's."""
        return self._source.funding(symbol, start_ms, end_ms)
