"""The strategy framework: what a strategy declares, receives and returns. No strategy and no simulation here.

A strategy is written once. Backtest, live finder and reference engine all call `Strategy.signals`, so live equals
backtest by construction; the finder takes the last row.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading_assets.errors import StrategyError
from trading_assets.market.candles import BoolArray, Candles, FloatArray, Funding
from trading_assets.market.timeframes import Timeframe
from trading_assets.strategies import indicators


class Parameters(BaseModel):
    """Parameters every strategy has; a strategy adds its own by subclassing. Unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    atr_period: int = Field(14, ge=2)
    stop_atr: float = Field(1.5, gt=0, description="Stop distance in ATR (spec section 6).")
    reward_risk: float = Field(2.0, gt=0, description="Target distance in stop distances.")


@dataclass(frozen=True)
class DataNeeds:
    """Data beyond the own timeframe's candles.

    Attributes:
        candles: bars of other timeframes of the symbol itself that must be known at the first decided bar.
        btc: bars of BTCUSDT likewise.
        funding: whether funding rates are needed.
    """

    candles: Mapping[Timeframe, int] = field(default_factory=dict)
    btc: Mapping[Timeframe, int] = field(default_factory=dict)
    funding: bool = False


@dataclass(frozen=True)
class StrategyData:
    """What a strategy sees: closed candles only. `candles` begins with the warm-up.

    `other` holds closed candles of the other timeframes in `DataNeeds.candles`, `btc` those of BTCUSDT. Use
    `as_of_open`/`as_of_close` of `trading_assets.strategies.alignment` to bring them onto the own bars.
    """

    symbol: str
    candles: Candles
    other: Mapping[Timeframe, Candles] = field(default_factory=dict)
    btc: Mapping[Timeframe, Candles] = field(default_factory=dict)
    funding: Funding = field(default_factory=Funding.empty)

    @property
    def timeframe(self) -> Timeframe:
        return self.candles.timeframe


@dataclass(frozen=True)
class Entries:
    """Entry conditions per bar, shape (n,). `confidence` in percent, meaningful where an entry is."""

    long: BoolArray
    short: BoolArray
    confidence: FloatArray


@dataclass(frozen=True)
class Signals:
    """A strategy's decision at the close of every bar, shape (n,).

    Attributes:
        long, short: entry at this bar's close; never both.
        confidence: percent; NaN where there is no entry.
        stop_distance: distance of the stop from the entry price, price units; NaN before it is defined.
        reward_risk: the target stands `reward_risk` stop distances away.
        indicators: every array the strategy computed, by name, for reports and the signal's row.
    """

    long: BoolArray
    short: BoolArray
    confidence: FloatArray
    stop_distance: FloatArray
    reward_risk: float
    indicators: Mapping[str, FloatArray]


class Strategy(abc.ABC):
    """Base of every strategy: a subclass plus one row in the `strategies` table, nothing else.

    Subclasses set `name`, `description`, `version` (raise it when the logic changes) and may narrow `Parameters`.
    `active_by_default` says whether the row starts switched on; a new strategy waits to be started by a person.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[str] = "1"
    active_by_default: ClassVar[bool] = False
    Parameters: ClassVar[type[Parameters]] = Parameters

    def __init__(self, parameters: Mapping[str, object] | None = None) -> None:
        """
        Raises:
            StrategyError: a parameter is unknown or out of range.
        """
        try:
            self.parameters = self.Parameters.model_validate(dict(parameters or {}))
        except ValidationError as error:
            details = "; ".join(map(_malformed, error.errors(include_url=False)))
            known = ", ".join(self.Parameters.model_fields)
            raise StrategyError(f"parameters of strategy {self.name!r}: {details}; it has {known}") from None

    def needs(self) -> DataNeeds:
        """Data beyond the own timeframe; none by default."""
        return DataNeeds()

    @abc.abstractmethod
    def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        """Arrays of shape (n,) on the own bars, NaN where undefined. A value at bar i uses nothing after i's close."""

    @abc.abstractmethod
    def entries(self, data: StrategyData, values: Mapping[str, FloatArray]) -> Entries:
        """Entry conditions from the indicators. NaN must never be an entry."""

    @final
    def signals(self, data: StrategyData) -> Signals:
        """Indicators, entries and stops of every bar. An entry whose stop or target would not lie above zero is none.

        Raises:
            StrategyError: an array has the wrong length or type, a bar is both long and short, or an entry has no
                confidence between 0 and 100.
        """
        bars = len(data.candles)
        values = self.indicators(data)
        entries = self.entries(data, values)
        for name, array in values.items():
            self._checked(f"indicator {name!r}", array, bars, np.number)
        long = self._checked("long", entries.long, bars, np.bool_)
        short = self._checked("short", entries.short, bars, np.bool_)
        confidence = self._checked("confidence", entries.confidence, bars, np.number)
        if bool(np.any(long & short)):
            raise StrategyError(f"{self.name}: bar {int(np.argmax(long & short))} is both long and short")
        candles, p = data.candles, self.parameters
        stop_distance = indicators.atr(candles.high, candles.low, candles.close, p.atr_period) * p.stop_atr
        long = long & (stop_distance > 0) & (stop_distance < candles.close)
        short = short & (stop_distance > 0) & (stop_distance * p.reward_risk < candles.close)
        entry = long | short
        sound = (confidence >= 0) & (confidence <= 100)
        if not bool(np.all(sound[entry])):
            bar = int(np.argmax(entry & ~sound))
            raise StrategyError(
                f"{self.name}: the entry of bar {bar} has confidence {confidence[bar]}, expected 0 to 100"
            )
        return Signals(long, short, np.where(entry, confidence, np.nan), stop_distance, p.reward_risk, values)

    def _checked(self, what: str, array: object, bars: int, kind: type) -> np.ndarray:
        """The array itself. NaN is true as a bool, so only real bool arrays are conditions."""
        if not (isinstance(array, np.ndarray) and np.issubdtype(array.dtype, kind) and array.shape == (bars,)):
            found = f"{array.dtype}{array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            expected = "bool" if kind is np.bool_ else "float"
            raise StrategyError(f"{self.name}: {what} is {found}, expected a numpy {expected} array of shape ({bars},)")
        return array


def _malformed(item: Mapping[str, Any]) -> str:
    where = ".".join(map(str, item["loc"]))
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {message} (found {item['input']!r})" if where else message
