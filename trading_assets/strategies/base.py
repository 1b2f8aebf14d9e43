"""The strategy framework: what a strategy declares, receives and returns. No strategy and no simulation here.

A strategy is written once. The live finder and the reference engine call `Strategy.signals`; a sweep of parameter sets
compiles the same function `entries` for one bar at a time (`backtesting.kernel`). So live equals backtest by
construction: the finder takes the last row.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading_assets.core.candles import BoolArray, Candles, FloatArray
from trading_assets.core.declared import EntryRule, SizeRule
from trading_assets.core.errors import StrategyError
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.strategy_data import UNDECLARED_FUNDING, DataNeeds, Signals, StrategyData
from trading_assets.strategies import indicators


class Parameters(BaseModel):
    """Parameters every strategy has; a strategy adds its own by subclassing. Unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    atr_period: int = Field(14, ge=2, description="Bars of the average true range.")
    stop_atr: float = Field(1.5, gt=0, description="Stop distance in ATR.")
    reward_risk: float = Field(2.0, gt=0, description="Target distance in stop distances.")


ParameterSets = Sequence[Parameters]

STOP_PARAMETERS = frozenset(Parameters.model_fields)
"""Names of the parameters of stop and target."""

STOPS: Sequence[Mapping[str, float]] = (
    {"stop_atr": 1.5, "reward_risk": 2.0},
    {"stop_atr": 1.5, "reward_risk": 3.0},
    {"stop_atr": 2.0, "reward_risk": 1.5},
    {"stop_atr": 2.0, "reward_risk": 2.0},
    {"stop_atr": 3.0, "reward_risk": 1.5},
)
"""Stops and targets that the built-in strategies declare. The first one is the described one (docs/choices.md)."""


def combinations(kind: type[Parameters], *choices: Sequence[Mapping[str, float]]) -> ParameterSets:
    """One parameter set for each way to take one of every `choices`; the first takes the first of each."""
    return [
        kind.model_validate({name: value for choice in chosen for name, value in choice.items()})
        for chosen in product(*choices)
    ]


_BOOL, _NUMBER = "b", "fiu"
"""Kinds of numpy types."""

CANDLE_VALUES = ("open", "high", "low", "close", "volume", "turnover")


class Values:
    """What an entry rule sees: the candles' columns and every indicator by its name, arrays of shape (n,).

    In a sweep the same names are the numbers of one bar.
    """

    def __init__(self, candles: Candles, indicators: Mapping[str, FloatArray]) -> None:
        self._arrays = {**{name: getattr(candles, name) for name in CANDLE_VALUES}, **indicators}

    def __getattr__(self, name: str) -> FloatArray:
        try:
            return self._arrays[name]
        except KeyError:
            raise AttributeError(f"no indicator {name!r}; there are {', '.join(self._arrays)}") from None


class Entries(NamedTuple):
    """Entry and exit conditions per bar, shape (n,); a bare bool or number stands for every bar.

    `confidence` in percent, meaningful where an entry is. `exit_long` and `exit_short` close a position of that side at
    the bar's close. A bar that says both, enter and leave, is no entry.
    """

    long: BoolArray | bool
    short: BoolArray | bool
    confidence: npt.NDArray[np.floating[Any]] | float
    exit_long: BoolArray | bool = False
    exit_short: BoolArray | bool = False

    @property
    def has_exits(self) -> bool:
        """Whether an exit condition is given at all."""
        return not (self.exit_long is False and self.exit_short is False)


class Strategy(abc.ABC):
    """Base of every strategy: a subclass plus one row in the `strategies` table, nothing else.

    Subclasses set `name`, `description`, `version` (raise it when the logic changes) and may narrow `Parameters`.
    `active_by_default` says whether the row starts switched on; a new strategy waits to be started by a person.
    `described_parameters` are those whose value the strategy's description gives: they keep their defaults unless a
    person asks for more (`grid`). `entry` and `size` say how its positions are entered and how large they are; without
    them it follows the settings.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[str] = "1"
    active_by_default: ClassVar[bool] = False
    described_parameters: ClassVar[frozenset[str]] = STOP_PARAMETERS
    entry: ClassVar[EntryRule | None] = None
    size: ClassVar[SizeRule | None] = None
    Parameters: ClassVar[type[Parameters]] = Parameters

    def __init__(self, parameters: Mapping[str, object] | None = None) -> None:
        """The strategy with these parameters, defaults for the others.

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
        """Arrays of shape (n,) on the own bars, NaN where undefined. A value at bar i uses nothing after i's close.

        A sweep gives several coins at once, arrays of shape (coins, n). Code that acts along the last axis
        (`x[..., 1:]`, everything in `strategies.indicators` and `alignment`) works for both. Other code is detected and
        computed coin by coin, which is slower.
        """

    @staticmethod
    @abc.abstractmethod
    def entries(v: Values, p: Any) -> Entries:
        """Entry and exit conditions from the values `v` of the bars and the parameters `p`. NaN must be neither.

        Use comparisons, `&`, `|`, arithmetic and `np.where` only: they mean the same for arrays and for the numbers of
        one bar, so a sweep can compile the rule. A rule that needs more (a loop, a library, other bars) works too, set
        by set and slower. Put what needs other bars into an indicator.
        """

    def exits(self) -> ExitPlan:
        """What ends a position besides stop, target and the exit conditions of `entries`; nothing by default."""
        return NO_PLAN

    @classmethod
    def grid(cls) -> ParameterSets:
        """Parameter sets worth trying. By default only the default parameters.

        All have one type, and the first is the strategy as described. A backtest tries them all where the registry's
        row or the setting `parameters` says `declared`, and those of `described_grid` otherwise.
        """
        return [cls.Parameters()]

    @final
    @classmethod
    def described_grid(cls) -> ParameterSets:
        """The sets of `grid` with `described_parameters` at their defaults, each once.

        Raises:
            StrategyError: a described parameter has no default, or a set does not allow it.
        """
        default = cls().parameters.model_dump()
        given = {name: default[name] for name in cls.described_parameters & default.keys()}
        sets = [cls(one.model_dump() | given).parameters for one in cls.grid()]
        return list(dict.fromkeys(sets))

    @final
    def signals(self, data: StrategyData) -> Signals:
        """Indicators, entries, stops and exits of every bar. An entry whose stop or target would not lie above zero is
        none, and so is one whose bar has an exit of its side.

        Raises:
            StrategyError: an array has the wrong length or type, a bar is both long and short, an entry has no
                confidence between 0 and 100, the exits cannot be meant, or funding is read without being declared.
        """
        bars = len(data.candles)
        if not self.needs().funding:
            data = replace(data, funding=UNDECLARED_FUNDING)  # it is there as a cost; live does not load it
        values = self.checked_indicators(data)
        with self._going_on():
            entries = self.entries(Values(data.candles, values), self.parameters)
        long = self._checked("long", _on_every_bar(entries.long, bars), bars, _BOOL)
        short = self._checked("short", _on_every_bar(entries.short, bars), bars, _BOOL)
        confidence = self._checked("confidence", _on_every_bar(entries.confidence, bars), bars, _NUMBER)
        if bool(np.any(long & short)):
            raise StrategyError(f"{self.name}: bar {int(np.argmax(long & short))} is both long and short")
        exit_long = exit_short = None
        if entries.has_exits:
            exit_long = self._checked("exit_long", _on_every_bar(entries.exit_long, bars), bars, _BOOL)
            exit_short = self._checked("exit_short", _on_every_bar(entries.exit_short, bars), bars, _BOOL)
            long, short = long & ~exit_long, short & ~exit_short
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
        return Signals(
            long,
            short,
            np.where(entry, confidence, np.nan),
            stop_distance,
            p.reward_risk,
            values,
            exit_long,
            exit_short,
            self.checked_exits(),
        )

    @final
    def checked_exits(self) -> ExitPlan:
        """`exits`, beside the target.

        Raises:
            StrategyError: it is no plan, or one that cannot be meant.
        """
        with self._going_on():
            plan: object = self.exits()
        if not isinstance(plan, ExitPlan):
            raise StrategyError(f"{self.name}: exits() is {plan!r}, expected an ExitPlan")
        return plan.checked(self.parameters.reward_risk)

    @final
    def checked_indicators(self, data: StrategyData) -> dict[str, FloatArray]:
        """`indicators`, each a number array on the own bars.

        Raises:
            StrategyError: an array has the wrong length or type, or the name of a candle column.
        """
        bars = len(data.candles)
        with self._going_on():
            values = self.indicators(data)
        for name, array in values.items():
            # A sweep's panel of coins has the shape (coins, n).
            of_panel = isinstance(array, np.ndarray) and array.ndim == 2 and array.shape == data.candles.close.shape
            self._checked(f"indicator {name!r}", array[0] if of_panel else array, bars, _NUMBER)
            if name in CANDLE_VALUES:
                raise StrategyError(f"{self.name}: indicator {name!r} has the name of a candle column, rename it")
        return values

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """`sys.exit` in a strategy ends the strategy, not the process that serves all the others."""
        try:
            yield
        except SystemExit as error:
            raise StrategyError(f"{self.name}: it asked to exit ({', '.join(map(repr, error.args))})") from None

    def _checked(self, what: str, array: object, bars: int, kind: str) -> np.ndarray:
        """The array itself. NaN is true as a bool, so only real bool arrays are conditions."""
        if not (isinstance(array, np.ndarray) and array.dtype.kind in kind and array.shape == (bars,)):
            found = f"{array.dtype}{array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            expected = "bool" if kind == _BOOL else "float"
            raise StrategyError(f"{self.name}: {what} is {found}, expected a numpy {expected} array of shape ({bars},)")
        return array


def _on_every_bar(value: object, bars: int) -> object:
    return np.full(bars, value) if isinstance(value, bool | int | float) else value


def _malformed(item: Mapping[str, Any]) -> str:
    where = ".".join(map(str, item["loc"]))
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}: {message} (found {item['input']!r})" if where else message
