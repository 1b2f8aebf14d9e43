"""`learned_signal`: a rule that is learned, day by day, from what was known before the day. An example, no advice.

For each UTC day a logistic regression is fitted to the bars before its first one: does the price stand higher some bars
later? A bar whose answer was not known when the day began is not learned from. So a decision depends on nothing after
its bar, and is the same live, in a backtest and in the look-ahead check. See docs/howto/learned_signal.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from pydantic import Field

from trading_assets.core.candles import Candles, FloatArray
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import DAY_MS, TRADED_TIMEFRAMES, WARM_UP_BARS, Timeframe
from trading_assets.strategies import indicators
from trading_assets.strategies.base import Entries, Parameters, Strategy, Values

CODE_VERSION = "1"
"""Raise it when features, label or model change: it is part of every model's data version."""

_LEAST_ROWS = 100


@dataclass(frozen=True)
class Model:
    """A fitted model: numbers alone, so that a prediction is the same to the last bit for one bar and for many.

    Attributes:
        version: names all that it was made of: features, labels, code and library.
        rows: bars that it was fitted to.
        mean, scale, weight: of each feature.
    """

    version: str
    rows: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weight: tuple[float, ...]
    intercept: float

    def probability(self, features: FloatArray) -> FloatArray:
        """That the price stands higher, of each row of `features`, shape (n,)."""
        total = np.full(len(features), self.intercept)
        for column, (mean, scale, weight) in enumerate(zip(self.mean, self.scale, self.weight, strict=True)):
            total += weight * (features[:, column] - mean) / scale
        return 1 / (1 + np.exp(-total))

    def as_json(self) -> Mapping[str, object]:
        return asdict(self)


def features_of(candles: Candles) -> FloatArray:
    """What is known at the close of each bar, shape (n, 6). Rounded, so that where the data begin does not matter."""
    high, low, close = candles.high, candles.low, candles.close
    atr = indicators.atr(high, low, close, 14)
    columns = [
        *((close - _ago(close, bars)) / atr for bars in (1, 4, 16)),
        (close - indicators.ema(close, 20)) / atr,
        indicators.rsi(close, 14) / 100,
        indicators.stochastic(high, low, close)[0] / 100,
    ]
    return np.round(np.stack(columns, axis=-1), 6)


def _ago(values: FloatArray, bars: int) -> FloatArray:
    return np.concatenate([np.full(min(bars, len(values)), np.nan), values[:-bars]])


def model_before(
    candles: Candles, features: FloatArray, time_ms: int, *, train_bars: int, horizon: int
) -> Model | None:
    """The model of what was known at a moment; None where too little was.

    Args:
        features: of all candles; those of a bar depend on nothing after it.
        train_bars: bars that it is fitted to, the newest whose answer was known.
        horizon: bars after which the answer is known.
    """
    known = int(np.searchsorted(candles.end_ms, time_ms, side="right"))
    last = known - horizon
    first = max(last - train_bars, 0)
    features = features[first : max(last, 0)]
    label = candles.close[first + horizon : known] > candles.close[first : max(last, 0)]
    sound = np.isfinite(features).all(axis=1)
    features, label = features[sound], label[sound]
    if len(label) < _LEAST_ROWS or label.all() or not label.any():
        return None
    return _fitted(features.tobytes(), label.tobytes(), features.shape[1])


@lru_cache(maxsize=512)
def _fitted(features: bytes, label: bytes, columns: int) -> Model:
    import sklearn
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = np.frombuffer(features).reshape(-1, columns), np.frombuffer(label, dtype=bool)
    scaler = StandardScaler().fit(x)
    fitted = LogisticRegression(C=0.1, solver="newton-cholesky").fit(scaler.transform(x), y)
    parts = (features, label, CODE_VERSION.encode(), sklearn.__version__.encode())
    return Model(
        version=hashlib.sha256(b"\0".join(parts)).hexdigest()[:16],
        rows=len(y),
        mean=tuple(scaler.mean_.tolist()),
        scale=tuple(scaler.scale_.tolist()),
        weight=tuple(fitted.coef_[0].tolist()),
        intercept=float(fitted.intercept_[0]),
    )


class LearnedParameters(Parameters):
    train_bars: int = Field(600, ge=_LEAST_ROWS, description="Bars that each day's model is fitted to.")
    horizon: int = Field(8, ge=1, description="Bars after which the price is compared.")
    edge: float = Field(0.04, ge=0, lt=0.5, description="How far the probability must be from a half.")


class LearnedSignal(Strategy):
    """Long where the day's model says that the price rises, short where it says that it falls."""

    name = "learned_signal"
    description = "Logistic regression of each day's past"
    version = CODE_VERSION
    Parameters = LearnedParameters
    parameters: LearnedParameters

    def needs(self) -> DataNeeds:
        p = self.parameters
        return DataNeeds(
            warm_up={of: WARM_UP_BARS + p.train_bars + p.horizon + _bars_of_day(of) for of in TRADED_TIMEFRAMES}
        )

    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        candles = data.candles
        if candles.close.ndim > 1:
            raise ValueError("each coin has a model of its own, so coins are computed one by one")
        features, day = features_of(candles), candles.start_ms // DAY_MS
        probability = np.full(len(candles), np.nan)
        for one in np.unique(day).tolist():
            model = self.model_of_day(candles, features, one * DAY_MS)
            if model is not None:
                bars = day == one
                probability[bars] = model.probability(features[bars])
        return {"probability": probability}

    def model_of_day(self, candles: Candles, features: FloatArray, day_ms: int) -> Model | None:
        """The model that decides on the bars of the day that begins at `day_ms`."""
        p = self.parameters
        return model_before(candles, features, day_ms, train_bars=p.train_bars, horizon=p.horizon)

    @staticmethod
    def entries(v: Values, p: LearnedParameters) -> Entries:
        up, down = v.probability > 0.5 + p.edge, v.probability < 0.5 - p.edge
        return Entries(long=up, short=down, confidence=100 * np.where(up, v.probability, 1 - v.probability))


def _bars_of_day(timeframe: Timeframe) -> int:
    return DAY_MS // timeframe.ms
