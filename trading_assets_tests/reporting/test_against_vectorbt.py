"""The report's trades computed again from raw candles by vectorbt and pandas: no engine and no strategy of ours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trading_assets.market.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.reporting.portfolio_walk import walk
from trading_assets_tests.reporting.scenes import COSTS, HOUR, UNLIMITED, followed, follows, market, settings

HOURS = 36
LEAD_BARS = 1_000


def wilder(values: pd.Series, period: int) -> pd.Series:
    return values.ewm(alpha=1 / period, adjust=False).mean()


def by_vectorbt(symbol: str, timeframe: Timeframe) -> pd.DataFrame:
    """Bollinger and RSI of the spec on raw candles, entries from the first as-of on, simulated by vectorbt."""
    import vectorbt as vbt

    start, end = as_of_ms(HOUR), as_of_ms(HOUR) + HOURS * HOUR_MS
    raw = market().read(symbol, timeframe, start - LEAD_BARS * timeframe.ms, end)
    frame = pd.DataFrame({name: getattr(raw, name) for name in ("open", "high", "low", "close")})
    close, change = frame["close"], frame["close"].diff().fillna(0.0)
    middle, spread = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    position = (close - (middle - 2 * spread)) / (4 * spread) * 2 - 1
    rsi = 100 - 100 / (1 + wilder(change.clip(lower=0), 14) / wilder(-change.clip(upper=0), 14))
    reach = pd.concat(
        [frame["high"] - frame["low"], (frame["high"] - close.shift()).abs(), (frame["low"] - close.shift()).abs()],
        axis=1,
    ).max(axis=1)
    stop = wilder(reach, 14) * 1.5 / close
    open_to = pd.Series(raw.end_ms > start) & rsi.between(30, 70)
    portfolio = vbt.Portfolio.from_signals(
        close,
        entries=(open_to & (position < -0.7)).to_numpy(),
        short_entries=(open_to & (position > 0.7)).to_numpy(),
        open=frame["open"],
        high=frame["high"],
        low=frame["low"],
        size=COSTS.notional,
        size_type="value",
        init_cash=1e9,
        fees=COSTS.fee,
        slippage=COSTS.slippage,
        sl_stop=stop.to_numpy(),
        tp_stop=2 * stop.to_numpy(),
        stop_entry_price="fillprice",
        stop_exit_price="stopmarket",
        upon_opposite_entry="ignore",
        accumulate=False,
        engine="rust",
    )
    trades = pd.DataFrame(portfolio.exit_trades.values)
    return pd.DataFrame(
        {
            "entry_ms": raw.end_ms[trades["entry_idx"]],
            "exit_ms": raw.end_ms[trades["exit_idx"]],
            "direction": np.where(trades["direction"] == 0, 1, -1),
            "entry_price": trades["entry_price"],
            "exit_price": trades["exit_price"],
            "fees": trades["entry_fees"] + trades["exit_fees"],
            "pnl": trades["pnl"],
            "closed": trades["status"] == 1,
        }
    )


@pytest.mark.parametrize(("symbol", "timeframe"), [("ETHUSDT", "5m"), ("SOLUSDT", "15m"), ("BTCUSDT", "3m")])
def test_the_trades_of_a_report_are_those_of_vectorbt_on_raw_candles(symbol: str, timeframe: str) -> None:
    chosen, end_ms = follows(HOURS, symbol, timeframe=timeframe), as_of_ms(HOUR) + HOURS * HOUR_MS
    walked = walk(followed(chosen, end_ms=end_ms).of(chosen), settings(**UNLIMITED), 1e6, as_of_ms(HOUR), end_ms)
    expected = by_vectorbt(symbol, Timeframe(timeframe))
    # One that is open at the end is worth its last close in both, but has its exit there in one of them alone.
    expected.loc[~expected["closed"], "exit_ms"] = end_ms
    found = pd.DataFrame(
        [
            {name: getattr(trade, name) for name in expected.columns} | {"pnl": trade.pnl + trade.funding}
            for trade in walked.taken
        ]
    )
    assert found["closed"].sum() > 5
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


def test_funding_is_the_sum_of_the_rates_while_a_trade_is_held() -> None:
    chosen = follows(24, "ETHUSDT", "SOLUSDT", timeframe="60m")
    trades = followed(chosen, end_ms=HOUR + 6 * DAY_MS).of(chosen)
    paying = 0
    for trade in trades:
        step = Timeframe.M60.ms
        held_until = trade.exit_ms - step if trade.closed else trade.exit_ms
        payments = market().read_funding(trade.follow.symbol, trade.entry_ms + 1, held_until + 1)
        closes = {
            int(time): float(market().read(trade.follow.symbol, Timeframe.M60, int(time) - step, int(time)).close[0])
            for time in payments.time_ms
        }
        expected = sum(
            trade.direction * trade.size * rate * closes[int(time)]
            for time, rate in zip(payments.time_ms, payments.rate, strict=True)
        )
        assert trade.funding == pytest.approx(expected, abs=1e-12)
        paying += expected != 0
    assert paying > 2
