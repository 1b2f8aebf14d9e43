"""What both of the project's storages of Dagster's events share: a batch of events is one transaction.

Stock storages write most events one by one. Not here: where the events are kept (`event_storage`, `postgres_storage`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

# A storage of one's own is made of these; Dagster has no other path to them.
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._serdes import serialize_value

BATCH_SIZE_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_SIZE = 500
"""Dagster collects events of a step into batches only where this environment variable says so."""


def collect_batches() -> None:
    """Let Dagster hand over batches in this process, unless the environment has a size for them."""
    # Read by Dagster at every event, in each process that opens a storage.
    os.environ.setdefault(BATCH_SIZE_VARIABLE, str(BATCH_SIZE))


class EventBatches(SqlEventLogStorage):
    """For a storage of events in SQL, to stand before it among the bases."""

    def _store_apart(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store rows where a run's events are kept apart from the index."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the asset events of a run in one transaction, other events one by one."""
        assets = [event for event in events if event.dagster_event_type in ASSET_EVENTS]
        if len({event.run_id for event in assets}) != 1:
            super().store_event_batch(events)
            return
        rows = [self._event_to_row(event) for event in assets]
        self._store_apart(assets[0].run_id, rows)
        # What an asset's own row shows is its last event.
        last = {event.get_dagster_event().asset_key: at for at, event in enumerate(assets)}
        with self.index_transaction() as connection:
            insert = sa.insert(SqlEventLogStorageTable)
            ids = connection.execute(
                insert.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True), rows
            ).scalars()
            numbers = list(ids)
            self._store_asset_event_tags(connection, assets, numbers)
            for at in last.values():
                self._store_asset_event(connection, assets[at], numbers[at])
        others = [event for event in events if event.dagster_event_type not in ASSET_EVENTS]
        if others:
            super().store_event_batch(others)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """A row per hour of the range that a check of the run will look at: stock makes the event's text for each."""
        planned = event.get_dagster_event().asset_check_planned_data
        hours = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        with self.index_connection() as connection:
            connection.execute(sa.insert(AssetCheckExecutionsTable), [{**row, "partition": hour} for hour in hours])

    def delete_events_for_run(self, conn: sa.Connection, run_id: str) -> None:
        """By one statement each: a backfill has more events than a statement takes variables."""
        of_run = SqlEventLogStorageTable.c.run_id == run_id
        numbers = sa.select(SqlEventLogStorageTable.c.id).where(of_run)
        conn.execute(sa.delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(numbers)))
        conn.execute(sa.delete(SqlEventLogStorageTable).where(of_run))
