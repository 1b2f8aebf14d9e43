"""dagster-celery's launcher with two queues, which finds lost workers. `deploy/celery/dagster.yaml` names it.

The stock launcher asks Celery's result store, where a run whose worker was lost stays in progress for ever, and which
would have to be installed. Only methods of the launchers' public interface are overridden here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import dagster as dg
from kombu.exceptions import OperationalError

from trading_assets.core.errors import DataError
from trading_assets.defs.instance.dagster_private import (
    CheckRunHealthResult,
    ConfigurableClassData,
    ExecuteRunArgs,
    LaunchRunContext,
    WorkerStatus,
    pack_value,
)
from trading_assets.defs.instance.workers.dagster_celery_private import (
    DAGSTER_CELERY_QUEUE_TAG as QUEUE,
)
from trading_assets.defs.instance.workers.dagster_celery_private import (
    DAGSTER_CELERY_TASK_ID_TAG as TASK_ID,
)
from trading_assets.defs.instance.workers.dagster_celery_private import (
    TASK_EXECUTE_JOB_NAME,
    CeleryRunLauncher,
)
from trading_assets.defs.instance.workers.queues import AGREED, RESEARCH, arrange

WORKER = "trading_assets/worker"
"""Tag of a run: the name of the worker that took it."""

ASKED_FOR_S = 3.0
SILENT_FOR_S = 45.0
"""A busy worker may answer late; a worker that is silent for so long is lost."""


class WorkersRunLauncher(CeleryRunLauncher):
    """Launches runs as tasks of the queues research and trading.

    Args:
        broker: URL of the broker.
        namespace: beginning of the queues' names: installations on one broker need different ones.
    """

    def __init__(
        self, broker: str, namespace: str = "trading_assets", inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__(
            default_queue=RESEARCH,
            broker=broker,
            backend="disabled://",
            config_source=dict(AGREED),
            inst_data=inst_data,
        )
        self.namespace = namespace
        self._silent_since: dict[str, float] = {}
        arrange(self.celery, namespace)

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """See Dagster's."""
        return {
            "broker": dg.Field(dg.StringSource, description="URL of the broker, such as amqp://user:password@host//"),
            "namespace": dg.Field(dg.StringSource, is_required=False, description="Beginning of the queues' names."),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> WorkersRunLauncher:
        """See Dagster's."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_resume_run(self) -> bool:
        """No: a run that has lost its process fails; each job's tags say whether it is retried. A trade run is not."""
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the run to the queue that its tags say."""
        run = context.dagster_run
        queue, task = run.tags.get(QUEUE, RESEARCH), str(uuid.uuid4())
        # Before it is sent, as it may be taken at once. A retry has the tags of what it retries, but no worker yet.
        self._instance.add_run_tags(run.run_id, {TASK_ID: task, WORKER: ""})
        if run.job_code_origin is None:
            raise DataError(f"run {run.run_id} has no code location, so no worker could load its job")
        # Without the instance: the worker opens the one of its own DAGSTER_HOME.
        args = ExecuteRunArgs(run.job_code_origin, run.run_id, instance_ref=None, set_exit_code_on_failure=True)
        self.celery.send_task(
            TASK_EXECUTE_JOB_NAME, kwargs={"execute_job_args_packed": pack_value(args)}, queue=queue, task_id=task
        )
        self._instance.report_engine_event(f"Sent to the queue {self.namespace}.{queue}", run, cls=type(self))

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run, which then ends by itself; one that no worker has taken yet ends at once."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if not run.tags.get(WORKER):
            self._instance.report_run_canceled(run, "Canceled before a worker took it.")
            return True
        self.celery.control.revoke(run.tags[TASK_ID], terminate=True, signal="SIGTERM", destination=[run.tags[WORKER]])
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the worker that took the run whether it executes it."""
        worker, task = run.tags.get(WORKER), run.tags.get(TASK_ID)
        if not worker or task is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no worker has said yet that it took the run")
        try:
            answers = self.celery.control.inspect([worker], timeout=ASKED_FOR_S).query_task(task)
        except (OperationalError, OSError) as error:
            # Neither can the worker be asked, nor has it been lost: a trading run goes on without the broker.
            self._silent_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"the broker cannot be reached: {error}")
        if answers is None or worker not in answers:
            moment = time.monotonic()
            silent_s = moment - self._silent_since.setdefault(run.run_id, moment)
            text = f"worker {worker} has not answered for {silent_s:.0f} s"
            lost = silent_s >= SILENT_FOR_S
            return CheckRunHealthResult(WorkerStatus.FAILED if lost else WorkerStatus.RUNNING, text)
        self._silent_since.pop(run.run_id, None)
        if task in answers[worker]:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"worker {worker} is no longer at work on it")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """The Celery task of the run and the worker that took it."""
        return f"Celery task {run.tags.get(TASK_ID)}, worker {run.tags.get(WORKER) or 'none yet: is one running?'}"


def forget(broker: str, namespace: str) -> None:
    """Delete an installation's queues and exchanges, and what waits in them: after a trial on a broker of others."""
    app = WorkersRunLauncher(broker, namespace).celery
    with app.connection_for_write() as connection, connection.channel() as channel:
        for queue in app.amqp.queues.values():
            channel.queue_delete(queue.name)
            channel.exchange_delete(queue.exchange.name)
        control = app.conf.control_exchange
        for exchange in (f"{control}.pidbox", f"reply.{control}.pidbox", app.conf.event_exchange):
            channel.exchange_delete(exchange)
