"""The history of runs in Dagster's instance, as plain values for benches and chaos trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from trading_assets.defs.instance.processes import process_has_ended, process_of_run
from trading_assets.defs.instance_queries import SELECTION_KEY
from trading_assets.defs.partitions import key_of

_ONCE = ("PIPELINE_ENQUEUED", "PIPELINE_STARTING", "PIPELINE_START", "PIPELINE_SUCCESS")
_STEP_START, _STEP_SUCCESS = "STEP_START", "STEP_SUCCESS"
_FROM_OUTSIDE = "This run has been marked as failed from outside"


@dataclass(frozen=True)
class RunStart:
    """Seconds that a run waited in Dagster's queue, and from its launch to its first step."""

    queued_s: float
    launched_s: float


class RunHistory:
    """The runs of the instance that `DAGSTER_HOME` names."""

    def __init__(self) -> None:
        self._instance = dg.DagsterInstance.get()
        self._pids: dict[str, int] = {}

    def pid_of(self, run_id: str) -> int | None:
        """Process id of a run whose process lives."""
        if run_id not in self._pids:
            found = process_of_run(self._instance, run_id)
            if found is None:
                return None
            self._pids[run_id] = found[0]
        return None if process_has_ended(self._instance, run_id) else self._pids[run_id]

    def live_pids(self, *jobs: str) -> list[int]:
        """Process ids of the jobs' runs whose processes live."""
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
            found[f"{run.job_name}: {self._failure_reason(run.run_id)}"] += 1
        return dict(found.most_common())

    def _failure_reason(self, run_id: str) -> str:
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
            text = (event.message if event is not None else None) or record.event_log_entry.message
            # Dagster's code server reports so a run whose process it saw end.
            return "its process was killed" if text.startswith(_FROM_OUTSIDE) else _short(text)
        return "no reason"

    def starts(self, job: str) -> list[RunStart]:
        """How long the job's runs took to begin, oldest first; runs that began no step are left out."""
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
                found.append(RunStart(launched - enqueued, stepped - launched))
        return found

    def events(self) -> int:
        """Number of events in Dagster's log, ticks not among them."""
        return sum(len(self._instance.all_logs(run.run_id)) for run in self._instance.get_runs())

    def inconsistencies(self) -> list[str]:
        """A sentence for each run whose history is incomplete.

        Numbers and times of its events have to go up; a run that succeeded has begun and ended once, has ended every
        step that it began, and has materialised what it planned, each hour once.
        """
        return [
            f"{run.job_name} {run.run_id}: {what}"
            for run in self._instance.get_runs()
            for what in self._inconsistencies(run)
        ]

    def _inconsistencies(self, run: dg.DagsterRun) -> Iterator[str]:
        records = self._instance.get_records_for_run(run.run_id).records
        numbers = [record.storage_id for record in records]
        if numbers != sorted(set(numbers)):
            yield "the numbers of its events do not go up"
        if run.status is not dg.DagsterRunStatus.SUCCESS:
            return
        events = [record.event_log_entry.dagster_event for record in records]
        counted = Counter(event.event_type_value for event in events if event is not None)
        for kind in _ONCE:
            if counted[kind] != 1:
                yield f"{counted[kind]} times {kind}, expected once"
        if counted[_STEP_START] != counted[_STEP_SUCCESS]:
            yield f"{counted[_STEP_START]} steps began, {counted[_STEP_SUCCESS]} succeeded"
        planned, materialized = Counter[str](), Counter[str]()
        for event in events:
            if event is None or event.asset_key is None:
                continue
            if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
                subset = event.asset_materialization_planned_data.partitions_subset
                hours = subset.get_partition_keys() if subset is not None else [event.partition]
                planned.update(f"{event.asset_key.to_user_string()} {hour or ''}" for hour in hours)
            elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
                materialized[f"{event.asset_key.to_user_string()} {event.partition or ''}"] += 1
        # Signals are materialised as they are found, without a plan.
        wrong = [what for what in planned | materialized if what in planned and materialized[what] != planned[what]]
        if wrong:
            yield f"{len(wrong)} materialisations are not as planned, such as {sorted(wrong)[0]}"

    def materialisations(self) -> int:
        """Number of materialisations of all assets in all runs."""
        kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION}
        runs = [run.run_id for run in self._instance.get_runs()]
        return sum(len(self._instance.get_records_for_run(run, of_type=kinds).records) for run in runs)

    def ticks(self) -> dict[str, int]:
        """Number of ticks of each schedule and sensor."""
        states = self._instance.all_instigator_state()
        return {
            state.instigator_name: len(self._instance.get_ticks(state.instigator_origin_id, state.selector_id))
            for state in states
        }

    def note_selected(self, hour_ms: int) -> None:
        """Let Dagster know of an hour's selection that no run of it has written (UTC ms of the hour's start)."""
        self._instance.report_runless_asset_event(dg.AssetMaterialization(SELECTION_KEY, partition=key_of(hour_ms)))

    def close(self) -> None:
        self._instance.dispose()


def _short(message: str) -> str:
    return " ".join(message.split())[:160]
