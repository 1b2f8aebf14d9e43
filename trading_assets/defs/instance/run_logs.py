"""The log of Dagster's processes: runs, code servers, daemon and web server. Its lines are made in `core.logs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trading_assets.core import logs
from trading_assets.defs.instance.dagster_private import loggers_of_runs

_SERVICES = {"daemon": "dagster-daemon", "webserver": "dagster-webserver", "celery": "worker"}


def start_log() -> None:
    """Write this process's log as the settings say, see `core.logs.start`.

    What a step says by `context.log`, and what Dagster says of a run, is told to people in coloured text by Dagster.
    Where the log is JSON lines, it is told as such a line instead, without Dagster's prefix. No logger is managed by
    Dagster for that: each line of a managed one is stored as an event.
    """
    if logs.start(service_of(sys.argv)) and logs.is_json():
        loggers_of_runs.create_console_logger = logs.logger_like


def service_of(arguments: Sequence[str]) -> str:
    """Name of a process of Dagster's, by its command line."""
    program = Path(arguments[0]) if arguments else Path()
    words = f"{program.parent.name}/{program.name}"
    return next((service for word, service in _SERVICES.items() if word in words), "dagster")
