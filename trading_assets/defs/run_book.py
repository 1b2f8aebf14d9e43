"""What Dagster's instance knows of runs, in plain values: for trials that may not import Dagster."""

from __future__ import annotations

from collections import Counter

import dagster as dg

from trading_assets.defs.processes import is_gone, process_of


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
            return _short((event.message if event is not None else None) or record.event_log_entry.message)
        return "no reason"

    def events(self) -> int:
        """Number of events in Dagster's log, ticks not among them."""
        return sum(len(self._instance.all_logs(run.run_id)) for run in self._instance.get_runs())

    def close(self) -> None:
        self._instance.dispose()


def _short(message: str) -> str:
    return " ".join(message.split())[:160]
