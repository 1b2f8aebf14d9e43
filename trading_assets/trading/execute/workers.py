"""Calls of several symbols in parallel, each in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

_Result = TypeVar("_Result")

Run = Callable[..., "Future[Any]"]


@contextmanager
def worker_pool(calls: int, workers: int) -> Iterator[Run]:
    """Give a function that starts a call in a worker. With one call or one worker it makes the call itself."""
    if calls == 1 or workers == 1:
        yield _at_once
        return
    with ThreadPoolExecutor(min(calls, workers), thread_name_prefix="orders") as pool:
        yield pool.submit


def _at_once(call: Callable[..., _Result], *args: object) -> Future[_Result]:
    future: Future[_Result] = Future()
    try:
        future.set_result(call(*args))
    except Exception as error:  # noqa: BLE001 (raised again by whoever asks for the result)
        future.set_exception(error)
    return future
