"""`dagster dev` on a home of its own, as `make dev` starts it, until the context ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from trading_assets.core.settings import PREFIX

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_S = 600


class Dev:
    """A running UI.

    Attributes:
        url: its address.
        home: its working directory, and the home of Dagster and of the project.
    """

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home

    def graphql(self, query: str, **variables: object) -> dict[str, Any]:
        """The data that a query of the UI's own interface answers with."""
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=30)
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data

    def runs(self, *, tag: tuple[str, str]) -> list[dict[str, str]]:
        """Id and status of the runs with a tag."""
        found = self.graphql(_RUNS, tags=[{"key": tag[0], "value": tag[1]}])
        runs: list[dict[str, str]] = found["runsOrError"]["results"]
        return runs

    def sensor_status(self, name: str) -> str:
        """RUNNING or STOPPED."""
        found = self.graphql(_SENSOR, name=name)
        status: str = found["sensorOrError"]["sensorState"]["status"]
        return status


_SENSOR = """
query Sensor($name: String!) {
  sensorOrError(sensorSelector: {
    repositoryName: "__repository__", repositoryLocationName: "trading_assets", sensorName: $name
  }) { ... on Sensor { sensorState { status } } }
}
"""

_RUNS = """
query Tagged($tags: [ExecutionTag!]) {
  runsOrError(filter: {tags: $tags}) { ... on Runs { results { runId status } } }
}
"""


@contextmanager
def dagster_dev(home: Path, settings: Mapping[str, str]) -> Iterator[Dev]:
    """Run the UI.

    Args:
        home: an empty directory.
        settings: of the project, by the names of their variables without the prefix.

    Raises:
        AssertionError: it does not answer in time; the end of its log says why.
    """
    # What `make dev` finds in the checkout: the instance's settings, and which code to load.
    shutil.copy(ROOT / "dagster.yaml", home)
    port = _free_port()
    dev = Dev(f"http://127.0.0.1:{port}", home)
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "BYBIT_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    given = {"HOME": str(home / ".trading_assets"), "UI_URL": dev.url, **settings}
    log = home / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-p", str(port)],
            cwd=home,
            # Sessions that live elsewhere are known by a folder of the user's state.
            env={
                **kept,
                "XDG_STATE_HOME": str(home / "state"),
                "DAGSTER_HOME": str(home),
                **{PREFIX + name: value for name, value in given.items()},
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await(process, dev, log)
        yield dev
    finally:
        # Webserver, daemon, code server and runs are of its process group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(process: subprocess.Popen[bytes], dev: Dev, log: Path) -> None:
    """Wait until the code is loaded, too: the webserver answers earlier."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            answer = dev.graphql("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
            if answer["repositoriesOrError"].get("nodes"):
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise AssertionError(f"dagster dev does not answer at {dev.url}: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
