"""What Dagster's instance knows of runs, in plain values: for trials that may not import Dagster."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import dagster as dg

from trading_assets.defs.processes import is_gone, process_of

_FROM_OUTSIDE = "This run has been marked as failed from outside"


@dataclass(frozen=True)
class Start:
    """Seconds that a run waited in Dagster's queue, and from its launch to its first step."""

    queued_s: float
    launched_s: float


class RunBook:
    """The runs of the instance that `DAGSTER_HOME` names."""

    def __init__(self) -> None:
        self._instance = dg.DagsterInstance.get()
        self._pids: dict[str, int] = {}

    def pid_of(self, run_id: str) -> int | None:
        """Process of a run that is there and lives."""
        if run_id not in self._pids:
            found = process_of(self._instance, run_id)
            if found is None:
                return None
            self._pids[run_id] = found[0]
        return None if is_gone(self._instance, run_id) else self._pids[run_id]

    def working(self, *jobs: str) -> list[int]:
        """Processes of the jobs' runs that live."""
        found = []
        for job in jobs:
            runs = self._instance.get_runs(dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.STARTED]))
            found += [self.pid_of(run.run_id) for run in runs]
        return [pid for pid in found if pid is not None]

    def succeeded_partitions(self, job: str) -> set[str]:
        """Partitions of the job's runs that succeeded."""
        runs = self._instance.get_runs(dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS]))
        return {run.tags["dagster/partition"] for run in runs if "dagster/partition" in run.tags}

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of runs by job and status."""
        found: dict[str, Counter[str]] = {}
        for run in self._instance.get_runs():
            found.setdefault(run.job_name, Counter())[run.status.value.lower()] += 1
        return {job: dict(counter) for job, counter in sorted(found.items())}

    def failures(self) -> dict[str, int]:
        """Failed runs by job and reason."""
        found: Counter[str] = Counter()
        for run in self._instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])):
            found[f"{run.job_name}: {self._why(run.run_id)}"] += 1
        return dict(found.most_common())

    def _why(self, run_id: str) -> str:
        steps = self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1).records
        for record in steps:
            event = record.event_log_entry.dagster_event
            error = event.step_failure_data.error if event is not None else None
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return _short(error.message)
        for record in self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records:
            event = record.event_log_entry.dagster_event
            told = (event.message if event is not None else None) or record.event_log_entry.message
            # What Dagster's code server says of a run whose process it saw end.
            return "its process was killed" if told.startswith(_FROM_OUTSIDE) else _short(told)
        return "no reason"

    def starts(self, job: str) -> list[Start]:
        """How long the job's runs took to begin that came to a step, the oldest first."""
        found = []
        kinds = (
            dg.DagsterEventType.PIPELINE_ENQUEUED,
            dg.DagsterEventType.PIPELINE_STARTING,
            dg.DagsterEventType.STEP_START,
        )
        for run in reversed(self._instance.get_runs(dg.RunsFilter(job_name=job))):
            firsts = [
                self._instance.get_records_for_run(run.run_id, of_type=kind, limit=1, ascending=True).records
                for kind in kinds
            ]
            if all(firsts):
                enqueued, launched, stepped = (records[0].event_log_entry.timestamp for records in firsts)
                found.append(Start(launched - enqueued, stepped - launched))
        return found

    def events(self) -> int:
        """Number of events in Dagster's log, ticks not among them."""
        return sum(len(self._instance.all_logs(run.run_id)) for run in self._instance.get_runs())

    def close(self) -> None:
        self._instance.dispose()


def _short(message: str) -> str:
    return " ".join(message.split())[:160]
