"""Spreading work over threads: order, who works, what is told, and what an error leaves."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from trading_assets.backtesting import worker_threads
from trading_assets.backtesting.worker_threads import map_on_workers


def test_results_stand_in_the_order_of_tasks_and_the_caller_works_as_well() -> None:
    workers: set[str] = set()

    def work(task: int) -> int:
        workers.add(threading.current_thread().name)
        time.sleep(0.02 if task == 0 else 0.001)
        return task * task

    told: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        assert map_on_workers(pool, 2, work, list(range(30)), told.append) == [task * task for task in range(30)]
    assert threading.current_thread().name in workers and len(workers) == 2
    assert told == sorted(told) and told[-1] == 30


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_task_is_done_once(threads: int) -> None:
    done: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        map_on_workers(pool, threads, done.append, list(range(200)))
        assert map_on_workers(pool, threads, done.append, []) == []
    assert sorted(done) == list(range(200))


@pytest.mark.parametrize("thread", ["the caller's", "another"])
def test_the_first_error_is_raised_when_no_thread_works_any_more(thread: str) -> None:
    caller, working, begun = threading.current_thread(), threading.Event(), []

    def work(task: int) -> None:
        begun.append(task)
        mine = threading.current_thread() is caller
        if mine == (thread == "the caller's"):
            assert working.wait(60)
            raise ValueError(f"task {task} is broken")
        working.set()
        time.sleep(0.05)
        working.clear()

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="is broken"):
            map_on_workers(pool, 2, work, list(range(100)))
        assert not working.is_set(), "the other thread still worked"
    assert len(begun) <= 4, "tasks went on after the error"


def test_a_process_beside_others_uses_no_more_threads_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_threads, "_limit", [])
    assert worker_threads.threads_by_default() == (os.cpu_count() or 1)
    worker_threads.use_at_most(1)
    assert worker_threads.threads_by_default() == 1
    worker_threads.use_at_most(10_000)
    assert worker_threads.threads_by_default() == (os.cpu_count() or 1)
