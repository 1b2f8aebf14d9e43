"""Which strategy is meant: by its name, its class, or itself. The registry's rows play no part in research."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from trading_assets.core.errors import StrategyError
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.failures import StrategyFailedError, failure_of
from trading_assets.strategies.registry import make_strategy, offering, strategy_classes

StrategyLike = str | type[Strategy] | Strategy
"""A strategy's name, its class (also one that only a notebook has), or one with its parameters."""


def configured(strategy: StrategyLike, parameters: Mapping[str, object] | None = None) -> Strategy:
    """The strategy with these parameters; others keep what they are.

    Raises:
        StrategyError: there is none of that name, or it does not allow a parameter.
    """
    given = values_of(parameters)
    if isinstance(strategy, str):
        return type(make_strategy(strategy, "{}"))(given)
    if isinstance(strategy, Strategy):
        return type(strategy)(strategy.parameters.model_dump() | given)
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise StrategyError(f"{strategy!r} is no strategy; expected its name, its class, or one with its parameters")
    return strategy(given)


def values_of(parameters: Mapping[str, object] | None) -> dict[str, object]:
    """Parameters by name.

    Raises:
        StrategyError: they are something else.
    """
    if parameters is not None and not isinstance(parameters, Mapping):
        raise StrategyError(f"the parameters are {parameters!r}, expected values by name, such as {{'stop_atr': 2.0}}")
    return dict(parameters or {})


def choices_of(values: object, name: str) -> list[object]:
    """Values to choose from.

    Raises:
        StrategyError: they are none.
    """
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise StrategyError(f"{name}: found {values!r}, expected a list of values")
    return list(values)


@contextmanager
def known(kind: type[Strategy]) -> Iterator[None]:
    """A class that only a notebook has is found by its name meanwhile.

    Raises:
        StrategyError: another class has its name.
    """
    held = strategy_classes().get(kind.name)
    if held is kind:
        yield
        return
    with offering(kind):
        yield


@contextmanager
def telling(strategy: Strategy, data: StrategyData) -> Iterator[None]:
    """What a strategy raises says where; the error itself, with its traceback, is the cause.

    Raises:
        StrategyFailedError: the strategy raised anything.
    """
    try:
        yield
    except Exception as error:
        raise StrategyFailedError(failure_of(strategy, data.symbol, data.timeframe, data, error)) from error
