"""The seeded market as candles and funding of the research wing: no server, no store, any time at once."""

from __future__ import annotations

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import ContractKind, ContractStatus, Instrument
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, START, TURNOVER, VOLUME, Market

_DECIMALS = 8
"""Decimals of a funding rate that the exchange tells."""


class MarketReader:
    """Reads a market like a candle store that holds everything; see `trading_assets.market.loading.CandleReader`.

    Raises (every method):
        DataError: the time lies outside the market's years.
        KeyError: there is no such contract.
    """

    btc = "BTCUSDT"

    def __init__(self, market: Market) -> None:
        self._market = market

    def instrument(self, symbol: str) -> Instrument:
        """The rules of a contract, as the exchange tells them."""
        one = self._market.contracts[symbol]
        return Instrument(
            symbol=one.symbol,
            base_coin=one.base_coin,
            quote_coin=one.quote_coin,
            settle_coin=one.settle_coin,
            kind=ContractKind.PERPETUAL if one.contract_type == "LinearPerpetual" else ContractKind.DATED,
            status=ContractStatus.TRADING if one.status == "Trading" else ContractStatus.OTHER,
            is_coin=not one.symbol_type,
            listed_ms=one.launch_ms,
            tick_size=one.tick_size,
            qty_step=one.qty_step,
            min_qty=one.min_qty,
            max_market_qty=one.max_market_qty,
            min_notional=one.min_notional,
            max_leverage=one.max_leverage,
            leverage_step=one.leverage_step,
            funding_interval_min=one.funding_interval_min,
            delivery_ms=one.delivery_ms or None,
        )

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        bars = self._market.bars(symbol, _interval(timeframe), start_ms, end_ms, end_ms + timeframe.ms)
        values = [np.ascontiguousarray(bars[:, column]) for column in (OPEN, HIGH, LOW, CLOSE, VOLUME, TURNOVER)]
        return Candles(timeframe, bars[:, START].astype(np.int64), *values)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        contract = self._market.contracts[symbol]
        interval = contract.funding_interval_min * MINUTE_MS
        first = max(start_ms, contract.launch_ms + 1)
        times = np.arange(-(-first // interval) * interval, end_ms, interval, dtype=np.int64)
        rates = [round(self._market.funding_rate(symbol, int(time_ms)), _DECIMALS) for time_ms in times]
        return Funding(times, np.array(rates, dtype=np.float64))


def _interval(timeframe: Timeframe) -> str:
    """A candle length as the market names it; see `Market.bars`."""
    return "D" if timeframe is Timeframe.D1 else str(timeframe.minutes)
