"""Processes that begin as a copy of one which has imported the project: a start costs milliseconds, not seconds."""

from multiprocessing import get_context

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["trading_assets.cli.main"])
