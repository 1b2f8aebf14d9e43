"""The workers' Celery apps: `celery -A trading_assets.celery_app:research worker`, and `...:trading`.

Broker and queues are those of the `dagster.yaml` in DAGSTER_HOME. The definitions are imported before a worker forks,
so that no run waits for an import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import dagster as dg
from celery import Celery
from celery.signals import setup_logging

import trading_assets.definitions  # noqa: F401 (what runs need)
from trading_assets.core import logs
from trading_assets.core.errors import ConfigurationError
from trading_assets.defs.instance.workers.dagster_celery_private import create_execute_job_task, make_app
from trading_assets.defs.instance.workers.launcher import WorkersRunLauncher
from trading_assets.defs.instance.workers.queues import RESEARCH, RULES, TRADING, arrange
from trading_assets.defs.instance.workers.task import RunTask


def _launcher() -> WorkersRunLauncher:
    if "DAGSTER_HOME" not in os.environ:
        raise ConfigurationError(
            "DAGSTER_HOME is not set: a worker reads broker and storage from the dagster.yaml there. Let it name a "
            "directory with a copy of deploy/celery/dagster.yaml"
        )
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, WorkersRunLauncher):
        raise ConfigurationError(
            f"the run launcher of {os.environ['DAGSTER_HOME']}/dagster.yaml is {type(launcher).__name__}, expected "
            "WorkersRunLauncher; see deploy/celery/dagster.yaml"
        )
    return launcher


def _app(launcher: WorkersRunLauncher, queue: str, rules: Mapping[str, Any]) -> Celery:
    app = make_app(launcher.app_args())
    arrange(app, launcher.namespace)
    app.conf.update(rules)
    app.amqp.queues.select([queue])
    create_execute_job_task(app, base=RunTask, shared=False)  # type: ignore[arg-type]
    return app


_ours = _launcher()
if logs.is_json():  # reading the instance began the log; Celery's own would take its handler away
    setup_logging.connect(lambda **_: logging.getLogger("celery").setLevel(logging.INFO), weak=False)
research = _app(_ours, RESEARCH, RULES[RESEARCH])
trading = _app(_ours, TRADING, RULES[TRADING])
