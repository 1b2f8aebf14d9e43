"""Every name that the package imports from inside dagster-celery: why, and what would replace it.

Apart from `instance.dagster_private`, because dagster-celery is an option and takes Celery's time to import.
"""

# The launcher that `launcher` extends, its task and its tags. Until: it finds lost workers without a result store.
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher

# A worker's app, as Dagster's page on Celery makes one of one's own. Until: queues and task of `dagster_celery.app` can
# be configured.
from dagster_celery.make_app import make_app

# See CeleryRunLauncher.
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

# See make_app.
from dagster_celery.tasks import create_execute_job_task

__all__ = [
    "DAGSTER_CELERY_QUEUE_TAG",
    "DAGSTER_CELERY_TASK_ID_TAG",
    "TASK_EXECUTE_JOB_NAME",
    "CeleryRunLauncher",
    "create_execute_job_task",
    "make_app",
]
