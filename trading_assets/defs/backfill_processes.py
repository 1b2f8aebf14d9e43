"""Runs of a backfill in several processes at once. An hour reads nothing that another hour has computed, so that any
order gives the same rows.

Each process loads the project once and takes range after range. It ends with its parent, however that ends.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any

import dagster as dg

from trading_assets.backtesting.worker_threads import use_at_most
from trading_assets.core import memory
from trading_assets.core.errors import DataError, TradingAssetsError

Range = tuple[int, int]
"""Start of the first hour, UTC ms, and how many hours."""

MakeJob = Callable[[], dg.JobDefinition]
"""Makes the job `research`: a function of a module, which another process finds by its name."""

_LOOK_S = 0.5
_STOP_S = 20.0


def cpu_s() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class Told:
    """An event of a run, as its process has told it.

    Attributes:
        process: its number, from 0.
        text: the step that began, or a line of the log; None for other events.
        wall_s, cpu_s: clocks of that process, seconds; only their differences mean something.
        peak_mb: the most memory that it ever had.
    """

    process: int
    kind: dg.DagsterEventType | None
    step: str | None
    text: str | None
    wall_s: float
    cpu_s: float
    peak_mb: float

    @classmethod
    def of(cls, entry: dg.EventLogEntry, process: int = 0) -> Told:
        """What an event says."""
        event = entry.dagster_event
        kind, step = (None, None) if event is None else (event.event_type, event.step_key)
        text = (entry.user_message.strip() or None) if event is None else None
        if kind is dg.DagsterEventType.STEP_START and step is not None:
            text = step.replace("__", "/")
        return cls(process, kind, step, text, time.perf_counter(), time.process_time(), memory.peak_mb())


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its id, or why it failed."""

    given: Range
    run_id: str
    failed: str | None


RunOne = Callable[[dg.DagsterInstance, dg.JobDefinition, Range, Callable[[dg.EventLogEntry], None], bool], Ended]
"""Researches a range, given whether with the settings of its hours. A function of a module, too."""


def in_processes(
    ranges: Sequence[Range],
    processes: int,
    make_job: MakeJob,
    run_one: RunOne,
    follow: Callable[[Told], None],
    *,
    as_of_settings: bool,
) -> Generator[Ended, None, None]:
    """Give the ranges, in their order, to so many processes, and yield each run that has ended.

    Whoever stops to iterate stops the processes.

    Raises:
        DataError: a process has ended without a word, or could not begin.
    """
    with dg.DagsterInstance.get():
        pass  # two processes that make its tables at once get in each other's way
    context = get_context("spawn")
    wanted, answers = context.SimpleQueue(), context.Queue()
    started = [
        context.Process(
            target=_work,
            args=(number, min(processes, len(ranges)), wanted, answers, make_job, run_one, as_of_settings),
            name=f"backfill-{number}",
        )
        for number in range(min(processes, len(ranges)))
    ]
    try:
        for one in started:
            one.start()
        for given in ranges:
            wanted.put(given)
        for _ in started:
            wanted.put(None)
        left = len(ranges)
        while left:
            found = _next(answers, started)
            if isinstance(found, Told):
                follow(found)
                continue
            left -= 1
            yield found
    finally:
        _stop(started)


def _next(answers: Any, started: Sequence[BaseProcess]) -> Told | Ended:
    while True:
        with suppress(queue.Empty):
            found = answers.get(timeout=_LOOK_S)
            if isinstance(found, str):
                raise DataError(found)
            return found
        if lost := [one for one in started if one.exitcode]:
            with suppress(queue.Empty):  # its last word may have come since
                found = answers.get(timeout=_LOOK_S)
                if isinstance(found, str):
                    raise DataError(found)
                return found
            name, code = lost[0].name, lost[0].exitcode
            raise DataError(
                f"the process {name} ended with code {code} (-9 is mostly too little memory). What it "
                "had written before stays; give the same command again, with fewer --processes"
            )


def _stop(started: Sequence[BaseProcess]) -> None:
    """End the processes: a run that is on its way is marked as stopped, if it takes no longer than that."""
    running = [one for one in started if one.is_alive()]
    for one in running:
        with suppress(ProcessLookupError):
            os.kill(one.pid or 0, signal.SIGTERM)
    until = time.monotonic() + _STOP_S
    for one in (one for one in started if one.pid is not None):
        one.join(max(until - time.monotonic(), 0.1))
        if one.is_alive():
            one.kill()
            one.join()


def _work(
    number: int, of: int, wanted: Any, answers: Any, make_job: MakeJob, run_one: RunOne, as_of_settings: bool
) -> None:
    """Of a process: take range after range until there is none."""
    use_at_most(max((os.cpu_count() or 1) // of, 1))
    memory.keep_few_arenas()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which sends it to all: the parent stops this one
    _end_with_parent()
    warnings.filterwarnings("ignore", module="dagster.*")
    try:
        job = make_job()
        with dg.DagsterInstance.get() as instance:
            while (given := wanted.get()) is not None:
                answers.put(
                    run_one(instance, job, given, lambda entry: answers.put(Told.of(entry, number)), as_of_settings)
                )
                memory.give_back()
    except TradingAssetsError as error:
        answers.put(str(error))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()
