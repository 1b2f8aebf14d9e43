"""The report's trades computed again from raw candles by vectorbt and pandas: no engine and no strategy of ours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms
from trading_assets.reporting.portfolio_simulation import simulate_portfolio
from trading_assets_tests.reporting.fixtures import COSTS, HOUR, UNLIMITED, forward_tested, market, selections, settings

HOURS = 36
LEAD_BARS = 1_000


def wilder(values: pd.Series, period: int) -> pd.Series:
    return values.ewm(alpha=1 / period, adjust=False).mean()


def stretched(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Bollinger and RSI: long, short, confidence."""
    close = frame["close"]
    middle, spread = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    position = (close - (middle - 2 * spread)) / (4 * spread) * 2 - 1
    rsi = rsi_of(close)
    long, short = (position < -0.7) & rsi.between(30, 70), (position > 0.7) & rsi.between(30, 70)
    return long, short, 60 + 10 * ((long & (rsi < 35)) | (short & (rsi > 65)))


def rsi_of(close: pd.Series) -> pd.Series:
    change = close.diff().fillna(0.0)
    return 100 - 100 / (1 + wilder(change.clip(lower=0), 14) / wilder(-change.clip(upper=0), 14))


def longer(symbol: str, timeframe: Timeframe, until: int) -> pd.DataFrame:
    """Sixty days of raw candles by their end; days are made of 240m."""
    of = Timeframe.M240 if timeframe is Timeframe.D1 else timeframe
    candles = market().read(symbol, of, until - 60 * DAY_MS, until)
    frame = pd.DataFrame({name: getattr(candles, name) for name in ("high", "low", "close")})
    frame["end"] = (candles.start_ms // timeframe.ms + 1) * timeframe.ms
    return frame.groupby("end").agg(high=("high", "max"), low=("low", "min"), close=("close", "last"))


def known_at(times: pd.Series, values: pd.Series) -> pd.Series:
    """For each time the value of the last candle that had ended."""
    return values.reindex(times, method="ffill").reset_index(drop=True)


def bollinger_rsi(frame: pd.DataFrame, symbol: str, timeframe: Timeframe) -> tuple[pd.Series, pd.Series, pd.Series]:
    return stretched(frame)


def hyperrsi(frame: pd.DataFrame, symbol: str, timeframe: Timeframe) -> tuple[pd.Series, pd.Series, pd.Series]:
    filtered_by = {"3m": Timeframe.M15, "5m": Timeframe.M60, "15m": Timeframe.M60}[timeframe.value]
    mean = longer(symbol, filtered_by, int(frame["end"].iloc[-1]))["close"].rolling(20).mean()
    trend = known_at(frame["end"], np.sign(mean.diff()))
    rsi = rsi_of(frame["close"])
    before = rsi.shift()
    long, short = (before < 30) & (rsi >= 30) & (trend > 0), (before > 70) & (rsi <= 70) & (trend < 0)
    return long, short, 60 + 10 * ((long & (before < 25)) | (short & (before > 75)))


def fibonacci_bollinger(
    frame: pd.DataFrame, symbol: str, timeframe: Timeframe
) -> tuple[pd.Series, pd.Series, pd.Series]:
    end, close = int(frame["end"].iloc[-1]), frame["close"]
    long, short, confidence = stretched(frame)
    day = longer(symbol, Timeframe.M60, end).rolling(24)
    calm = known_at(frame["end"], (day["high"].max() - day["low"].min()) / day["low"].min() * 100) <= 50
    change = known_at(frame["end"], longer("BTCUSDT", Timeframe.M240, end)["close"].pct_change(20) * 100)
    long, short = long & calm & (change >= -2), short & calm & (change <= 2)
    near = pd.Series(False, index=frame.index)
    for other in (Timeframe.D1, Timeframe.M240, Timeframe.M60, Timeframe.M15):
        window = longer(symbol, other, end).rolling(30)
        low = known_at(frame["end"] - timeframe.ms, window["low"].min())
        high = known_at(frame["end"] - timeframe.ms, window["high"].max())
        for ratio in (0.0, 0.236, 0.382, 0.5, 0.618, 0.786, 1.0):
            near |= ((close - (low + (high - low) * ratio)).abs() <= close * 0.02) & (high > low)
    paid = market().read_funding(symbol, end - 3 * DAY_MS, end)
    # A rate that is paid at the very close is not known yet.
    funding = known_at(frame["end"] - 1, pd.Series(paid.rate, index=paid.time_ms))
    confidence = confidence + 10 * near + 10 * ((long & (change > 2)) | (short & (change < -2)))
    return long, short, confidence + 5 * ((long & (funding < 0)) | (short & (funding > 0)))


RULES = {rule.__name__: rule for rule in (bollinger_rsi, hyperrsi, fibonacci_bollinger)}


def by_vectorbt(symbol: str, timeframe: Timeframe, strategy: str) -> pd.DataFrame:
    """The rule of `bollinger_rsi` on raw candles, entries from the first as-of on, simulated by vectorbt."""
    import vectorbt as vbt

    start, end = as_of_ms(HOUR), as_of_ms(HOUR) + HOURS * HOUR_MS
    raw = market().read(symbol, timeframe, start - LEAD_BARS * timeframe.ms, end)
    frame = pd.DataFrame({name: getattr(raw, name) for name in ("open", "high", "low", "close")})
    frame["end"] = raw.end_ms
    close = frame["close"]
    long, short, confidence = RULES[strategy](frame, symbol, timeframe)
    reach = pd.concat(
        [frame["high"] - frame["low"], (frame["high"] - close.shift()).abs(), (frame["low"] - close.shift()).abs()],
        axis=1,
    ).max(axis=1)
    stop = wilder(reach, 14) * 1.5 / close
    open_to = frame["end"] >= start
    portfolio = vbt.Portfolio.from_signals(
        close,
        entries=(open_to & long).to_numpy(),
        short_entries=(open_to & short).to_numpy(),
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
        stop_entry_price="close",
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
            "confidence": confidence.to_numpy(dtype=np.float64)[trades["entry_idx"]],
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symbol", "timeframe", "strategy"),
    [
        *(("ETHUSDT", "5m", strategy) for strategy in ("bollinger_rsi", "fibonacci_bollinger")),
        *(("SOLUSDT", "15m", strategy) for strategy in ("bollinger_rsi", "fibonacci_bollinger")),
        *(("SOLUSDT", "3m", strategy) for strategy in RULES),
        ("SOLUSDT", "5m", "hyperrsi"),
    ],
)
def test_the_trades_of_a_report_are_those_of_vectorbt_on_raw_candles(
    symbol: str, timeframe: str, strategy: str
) -> None:
    chosen = selections(HOURS, symbol, timeframe=timeframe, strategy=strategy)
    end_ms = as_of_ms(HOUR) + HOURS * HOUR_MS
    portfolio = simulate_portfolio(
        forward_tested(chosen, end_ms=end_ms).of(chosen), settings(**UNLIMITED), 1e6, as_of_ms(HOUR), end_ms
    )
    expected = by_vectorbt(symbol, Timeframe(timeframe), strategy)
    # One that is open at the end is worth its last close in both, but has its exit there in one of them alone.
    expected.loc[~expected["closed"], "exit_ms"] = end_ms
    found = pd.DataFrame(
        [
            {name: getattr(trade, name) for name in expected.columns} | {"pnl": trade.pnl + trade.funding}
            for trade in portfolio.taken
        ]
    )
    assert found["closed"].sum() > 3
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


@pytest.mark.slow
def test_funding_is_the_sum_of_the_rates_while_a_trade_is_held() -> None:
    chosen = selections(24, "ETHUSDT", "SOLUSDT", timeframe="60m")
    trades = forward_tested(chosen, end_ms=HOUR + 6 * DAY_MS).of(chosen)
    paying = 0
    for trade in trades:
        step = Timeframe.M60.ms
        held_until = trade.exit_ms - step if trade.closed else trade.exit_ms
        payments = market().read_funding(trade.selection.symbol, trade.entry_ms + 1, held_until + 1)
        closes = {
            int(time): float(market().read(trade.selection.symbol, Timeframe.M60, int(time) - step, int(time)).close[0])
            for time in payments.time_ms
        }
        expected = sum(
            trade.direction * trade.size * rate * closes[int(time)]
            for time, rate in zip(payments.time_ms, payments.rate, strict=True)
        )
        assert trade.funding == pytest.approx(expected, abs=1e-12)
        paying += expected != 0
    assert paying > 2
