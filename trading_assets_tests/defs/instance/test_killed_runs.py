"""A run that the kernel kills, as for want of memory, ends in Dagster and is told; sensors of trading may be off."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trading_assets.defs.instance.processes import process_of_run
from trading_assets_tests.ui.dev import Dev, dagster_dev

WITHIN_S = 240.0

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
_RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) { ... on Run { status } }
  logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
}
"""


def launch(dev: Dev, job: str) -> str:
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "trading_assets",
        "jobName": job,
    }
    found = dev.graphql(_LAUNCH, params={"selector": selector, "mode": "default", "runConfigData": {}})
    run = found["launchPipelineExecution"]
    assert run["__typename"] == "LaunchRunSuccess", run
    return str(run["run"]["runId"])


def wait_for(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(what)


@pytest.mark.slow
def test_a_run_killed_by_the_kernel_ends_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dagster_dev(tmp_path, {"AUTOMATION": "off", "SIMULATOR_SYMBOLS": "2"}) as dev:
        run_id = launch(dev, "reconcile")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        with dg.DagsterInstance.get() as instance:
            found = wait_for(lambda: process_of_run(instance, run_id), "the run has a process")
        os.kill(found[0], signal.SIGKILL)

        def ended() -> str:
            found = dev.graphql(_RUN, id=run_id)
            told = " ".join(event.get("message", "") for event in found["logsForRun"]["events"])
            return told if found["runOrError"]["status"] == "FAILURE" else ""

        told = wait_for(ended, "the run has ended")
        assert "exited" in told or "memory" in told, told[-2000:]
