"""Desks beside the session's loop end together, within one time."""

from __future__ import annotations

import threading

from trading_assets.trading.session.worker_thread import WorkerThread, finish_all
from trading_assets_tests.polling import until


def test_workers_that_hang_are_waited_for_once_together() -> None:
    """Each waits for the end of another: they end only where all are told before one is waited for."""
    go_on, begun = threading.Event(), list[str]()
    workers: list[WorkerThread] = []

    def work(name: str) -> None:
        begun.append(name)
        until(lambda: all(worker.is_ending for worker in workers) or go_on.is_set())

    workers += [WorkerThread(name, lambda name=name: work(name)) for name in ("orders", "books")]  # type: ignore[misc]
    for worker in workers:
        worker.start()
        worker.wake()
    until(lambda: len(begun) == len(workers))
    try:
        assert finish_all(workers, 60.0)
    finally:
        go_on.set()


def test_the_time_is_that_of_all() -> None:
    go_on, begun, given = threading.Event(), list[str](), list[float]()

    class Slow(WorkerThread):
        def finish(self, timeout_s: float) -> bool:
            given.append(timeout_s)
            return super().finish(timeout_s)

    def work() -> None:
        begun.append("turn")
        go_on.wait(300)

    workers = [Slow("orders", work), Slow("books", work)]
    for worker in workers:
        worker.start()
        worker.wake()
    until(lambda: len(begun) == len(workers))
    assert not finish_all(workers, 0.2)
    go_on.set()
    assert given[0] <= 0.2 and given[1] == 0.0, "the first one has used the time of both"
    assert finish_all(workers, 60.0)
