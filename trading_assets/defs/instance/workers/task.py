"""The task that a worker runs: dagster-celery's, once at most, and so that a cancel ends it cleanly.

A broker delivers at least once. A run that was delivered again is one whose worker was lost: it ends, and Dagster
starts another one for it where its job has retries. The stock task would ignore it, and leave it running for ever.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import celery
import dagster as dg
from celery.signals import worker_shutting_down
from celery.worker import state

from trading_assets.core.foreign_text import get_logger
from trading_assets.defs.instance.dagster_private import ExecuteRunArgs, unpack_value
from trading_assets.defs.instance.workers.launcher import WORKER

_log = get_logger(__name__)


class RunTask(celery.Task):
    """Base of the task `execute_job`, whose only argument is `execute_job_args_packed`."""

    def __call__(self, execute_job_args_packed: Mapping[str, Any]) -> int:
        """Execute the run, unless it is not to be executed."""
        run_id = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs).run_id
        with dg.DagsterInstance.get() as instance:
            may_begin = take(instance, run_id, self.request.hostname)
        if not may_begin:
            return 0
        try:
            with _interruptible():
                return int(super().__call__(execute_job_args_packed=execute_job_args_packed))
        except KeyboardInterrupt:
            # Outside of a step: Dagster has not seen it.
            with dg.DagsterInstance.get() as instance:
                _end_canceled(instance, run_id)
            return 1


def take(instance: dg.DagsterInstance, run_id: str, worker: str) -> bool:
    """Whether a delivered run is to be executed by the worker, whose name it then bears.

    A run that is at work already has lost its worker, and ends here.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        _log.info("run %s is not executed: it was %s meanwhile", run_id, "deleted" if run is None else run.status.value)
        return False
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "Its worker was lost while it was canceled.")
        return False
    if run.status is dg.DagsterRunStatus.STARTED:
        instance.report_run_failed(
            run, f"Its worker {run.tags.get(WORKER, '')} was lost: the broker has delivered it again, to {worker}."
        )
        return False
    instance.add_run_tags(run_id, {WORKER: worker})
    return True


def _end_canceled(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_canceled(run)


@worker_shutting_down.connect
def _end_runs(**_: object) -> None:
    """A worker that is told to stop lets its runs end at once: Celery would wait for a session for hours, meanwhile
    deaf to the question whether it lives."""
    for request in list(state.active_requests):
        if request.worker_pid:
            with suppress(ProcessLookupError):
                os.kill(request.worker_pid, signal.SIGTERM)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGINT interrupt the run, also between steps, and do afterwards what Celery wants them to do."""
    if threading.current_thread() is not threading.main_thread():
        yield  # a pool without processes: only Dagster's own steps can be interrupted
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
