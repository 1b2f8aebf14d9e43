"""Every name that the package imports from inside Dagster and dagster-postgres: why, and what would replace it.

A test resolves each name by itself, so it says which one a new version has moved. Another test finds private imports
elsewhere in the package. Names that need the extra `celery` are in `workers.dagster_celery_private`.
"""

# `instance.asking`: processes ask each other every second, each time over a new connection. Until: `dagster.yaml` has a
# setting for the one, and clients keep a connection.
from dagster import _grpc as grpc_of_dagster

# `instance.run_logs` replaces what makes a run's logger for people. Until: a default logger can be named in
# `Definitions` or `dagster.yaml`; today each run's own configuration must name one.
from dagster import _loggers as loggers_of_runs

# `execute_in_process` keeps the rows of every asset until the run ends: half a gigabyte for a month. The daemon runs a
# job by `execute_run`, which keeps none. Until: `execute_in_process` can drop outputs and takes a run with a listener.
from dagster._core.definitions.job_base import InMemoryJob

# `instance.storage`: which events of a batch are about assets. Until: `store_event_batch` of the stock storages writes
# the events of all assets in one transaction.
from dagster._core.events import ASSET_EVENTS

# See InMemoryJob.
from dagster._core.execution.api import execute_run

# `backfill --queue` asks the daemon for ranges. Until: an instance takes a backfill in Python as it does by GraphQL.
from dagster._core.execution.backfill import PartitionBackfill

# What a run launcher is given and answers. Until: `dagster` exports them beside `QueuedRunCoordinator`.
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

# `bench home` stores ticks as the daemon does. Until: never; without them it would have to start a daemon.
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus

# `instance.storage` extends them. Until: see ASSET_EVENTS.
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage

# `instance.storage`: tables of a batch. Until: see ASSET_EVENTS.
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)

# The only manager whose files the webserver serves unchanged. Until: a public way to the path of a captured log.
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

# `instance.storage` extends them. Until: stock waits for a lock on runs and ticks as long as on events.
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage

# `instance.storage` extends it. Until: `dagster` exports it, as `dagster_postgres` exports its own.
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

# The argument of the task that a Celery worker executes. Until: dagster-celery's own launcher finds lost workers.
from dagster._grpc.types import ExecuteRunArgs

# Every class that `dagster.yaml` names takes ConfigurableClassData; the others are for ExecuteRunArgs. Until: `dagster`
# exports them beside `serialize_value`.
from dagster._serdes import ConfigurableClassData, pack_value, unpack_value

# Engine, URL and credentials from the configuration of the stock storage. Until: that has a setting for its pool.
from dagster_postgres.utils import (
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)

PROXY_MANAGER = "dagster._cli.proxy_server_manager"
"""`instance.asking`: `dagster dev` puts a process before its code server. By name, as it is loaded by the command line
alone, and takes a second. Until: `dagster dev` has an option for going without."""

__all__ = [
    "ASSET_EVENTS",
    "PROXY_MANAGER",
    "AssetCheckExecutionsTable",
    "AssetEventTagsTable",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterSqliteStorage",
    "ExecuteRunArgs",
    "InMemoryJob",
    "InstigatorType",
    "LaunchRunContext",
    "LocalComputeLogManager",
    "PartitionBackfill",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
    "TickData",
    "TickStatus",
    "WorkerStatus",
    "create_pg_connection",
    "create_pg_engine",
    "execute_run",
    "get_token_provider_from_config",
    "grpc_of_dagster",
    "loggers_of_runs",
    "pack_value",
    "pg_url_from_config",
    "unpack_value",
]
