"""One indicator, computed once for all parameter sets of a sweep. No indicator is defined here.

Outside of `sharing()` a function marked `shared` is the function itself. Inside, on the same thread, its results are
kept by function and arguments (arrays by identity), so twenty parameter sets that ask for RSI 14 of the same closes
get one array. A compiled function that gives the same numbers to the last bit takes its place where there is one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
Compiled = Mapping[str, Callable[..., Any]]


class _Store(threading.local):
    """What this thread shares at the moment: results with the arguments that made them (so no identity is reused)."""

    results: dict[tuple[object, ...], tuple[object, object]] | None = None
    compiled: Compiled = {}  # noqa: RUF012 (replaced, never changed)


_store = _Store()


@contextmanager
def sharing(compiled: Compiled) -> Iterator[None]:
    """Share results until the block ends. `compiled` are compiled functions by the name of the original.

    A block inside another one shares with it.
    """
    if _store.results is not None:
        yield
        return
    _store.results, _store.compiled = {}, compiled
    try:
        yield
    finally:
        _store.results, _store.compiled = None, {}


def shared(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Mark a function of arrays, candles and numbers. A shared result is read-only, because others hold it, too."""
    name = function.__name__

    @wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        results = _store.results
        if results is None:
            return function(*args, **kwargs)
        key = (name, *map(_identity, args), *((word, _identity(value)) for word, value in kwargs.items()))
        found = results.get(key)
        if found is None:
            result = _store.compiled.get(name, function)(*args, **kwargs)
            _freeze(result)
            found = results[key] = (result, (args, kwargs))
        return found[0]  # type: ignore[return-value]

    return call


def _identity(argument: object) -> object:
    return argument if isinstance(argument, int | float) else id(argument)


def _freeze(result: object) -> None:
    if isinstance(result, np.ndarray):
        result.flags.writeable = False
    elif isinstance(result, tuple):
        for part in result:
            _freeze(part)
