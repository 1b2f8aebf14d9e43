"""Our indicators are those of TA-Lib: to rounding where both begin alike, else once the beginning is forgotten."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.strategies import indicators
from trading_assets_tests.strategies.markets import walk

talib = pytest.importorskip("talib", reason="TA-Lib is not installed: pip install 'trading-assets[talib]'")

FORGOTTEN = 600
"""Bars after which a different begin weighs less than 1e-9."""

Numbers = tuple[np.ndarray, ...]
Call = Callable[[Candles], "Numbers | np.ndarray"]

ALIKE: dict[str, tuple[Call, Call]] = {
    "sma": (lambda c: indicators.sma(c.close, 20), lambda c: talib.SMA(c.close, 20)),
    "sma of 1": (lambda c: indicators.sma(c.close, 1), lambda c: c.close),
    "ema": (lambda c: indicators.ema(c.close, 21), lambda c: talib.EMA(c.close, 21)),
    "ema of 2": (lambda c: indicators.ema(c.close, 2), lambda c: talib.EMA(c.close, 2)),
    "ema of an array that begins with NaN": (
        lambda c: indicators.ema(indicators.ema(c.close, 9), 200),
        lambda c: talib.EMA(talib.EMA(c.close, 9), 200),
    ),
    "wma": (lambda c: indicators.wma(c.close, 33), lambda c: talib.WMA(c.close, 33)),
    "rsi": (lambda c: indicators.rsi(c.close, 14), lambda c: talib.RSI(c.close, 14)),
    "bollinger": (
        lambda c: indicators.bollinger(c.close, 20, 2.0),
        lambda c: talib.BBANDS(c.close, 20, 2.0, 2.0)[::-1],
    ),
    "true range": (
        lambda c: indicators.true_range(c.high, c.low, c.close)[1:],
        lambda c: talib.TRANGE(c.high, c.low, c.close)[1:],
    ),
    "macd, from averages": (
        lambda c: indicators.macd(c.close)[:2],
        lambda c: (
            talib.EMA(c.close, 12) - talib.EMA(c.close, 26),
            talib.EMA(talib.EMA(c.close, 12) - talib.EMA(c.close, 26), 9),
        ),
    ),
    "stochastic": (
        # TA-Lib tells nothing before %D is known.
        lambda c: tuple(one[17:] for one in indicators.stochastic(c.high, c.low, c.close)),
        lambda c: tuple(one[17:] for one in talib.STOCH(c.high, c.low, c.close, 14, 3, 0, 3, 0)),
    ),
    "donchian": (
        lambda c: indicators.donchian(c.high, c.low, 20)[::2],
        lambda c: (talib.MIN(c.low, 20), talib.MAX(c.high, 20)),
    ),
    "obv": (lambda c: indicators.obv(c.close, c.volume), lambda c: talib.OBV(c.close, c.volume)),
    "change": (lambda c: indicators.change_pct(c.close, 20), lambda c: talib.ROC(c.close, 20)),
}

ALIKE_LATER: dict[str, tuple[Call, Call]] = {
    "atr": (lambda c: indicators.atr(c.high, c.low, c.close, 14), lambda c: talib.ATR(c.high, c.low, c.close, 14)),
    "macd": (lambda c: indicators.macd(c.close), lambda c: talib.MACD(c.close)),
    "adx": (
        lambda c: indicators.adx(c.high, c.low, c.close, 14),
        lambda c: tuple(of(c.high, c.low, c.close, 14) for of in (talib.PLUS_DI, talib.MINUS_DI, talib.ADX)),
    ),
    "keltner": (
        lambda c: indicators.keltner(c.high, c.low, c.close, 20, 10, 1.5),
        lambda c: tuple(talib.EMA(c.close, 20) + of * talib.ATR(c.high, c.low, c.close, 10) for of in (-1.5, 0, 1.5)),
    ),
}


def rows(found: Numbers | np.ndarray) -> Numbers:
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", [*ALIKE, *ALIKE_LATER])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_indicator_is_that_of_ta_lib(name: str, seed: int) -> None:
    candles = walk(seed, 2000)
    ours, theirs = ALIKE[name] if name in ALIKE else ALIKE_LATER[name]
    first = 0 if name in ALIKE else FORGOTTEN
    found, expected = rows(ours(candles)), rows(theirs(candles))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.isfinite(other[-1])
        scale = float(np.nanstd(other))
        np.testing.assert_allclose(one[first:], other[first:], rtol=1e-9, atol=1e-9 * scale)
