"""A processes of Celery workers on a real broker, as deploy/celery/dagster.yaml has it, with queues of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import yaml

from trading_assets.defs.instance.workers.launcher import WorkersRunLauncher, forget

ROOT = Path(__file__).parents[3]
WITHIN_S = 600.0
"""Long, as a machine may be busy with other things; nothing here takes more than seconds of its own."""
T = TypeVar("T")


def write_dagster_yaml(home: Path, namespace: str, **changes: Any) -> None:
    """The installation's file with the history in `home`; `changes` are merged into its sections."""
    content = yaml.safe_load((ROOT / "deploy/celery/dagster.yaml").read_text())
    content["run_launcher"]["config"]["namespace"] = namespace
    base = {"base_dir": str(home / "history")}
    content["storage"] = {
        "custom": {
            "module": "trading_assets.defs.instance.storage",
            "class": "BatchedSqliteStorage",
            "config": base,
        }
    }
    content["local_artifact_storage"] = {
        "module": "dagster._core.storage.root", "class": "LocalArtifactStorage", "config": base,
    }  # fmt: skip
    for section, some in changes.items():
        content[section] |= some
    (home / "dagster.yaml").write_text(yaml.safe_dump(content))
    # Its tables are there before several processes look for them at once.
    dg.DagsterInstance.from_config(str(home)).dispose()


class WorkerProcesses:
    """Processes that are killed with everything below them when the processes is dismissed."""

    def __init__(self, home: Path, launcher: WorkersRunLauncher) -> None:
        self._home, self._launcher = home, launcher
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        """Start a process; its output is in `name`.log."""
        with (self._home / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self._home, stdout=log, stderr=log, start_new_session=True
            )

    def hire(self, queue: str, name: str) -> str:
        """Start a worker of a queue; its name on the broker."""
        node = f"{name}@{self._launcher.namespace}"
        self.start(
            name, "celery", "-A", f"trading_assets.celery_app:{queue}", "worker", "-n", node, "-c", "1",
            "--without-gossip", "--without-mingle",
        )  # fmt: skip
        return node

    def wait_for(self, *nodes: str) -> None:
        """Until the workers answer."""
        until(lambda: len(self._launcher.celery.control.ping(list(nodes), timeout=1.0)) == len(nodes), self.tails)

    def kill(self, name: str) -> None:
        """As a power cut does."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(120)

    def tell_to_stop(self, name: str) -> None:
        """As `systemctl stop` does."""
        process = self._processes[name]
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN_S)
        del self._processes[name]

    def tails(self) -> str:
        """The last lines of every process, for a test that fails."""
        logs = [(path.name, path.read_text(errors="replace")[-1500:]) for path in sorted(self._home.glob("*.log"))]
        return "\n".join(f"--- {name}\n{tail}" for name, tail in logs)

    def dismiss(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        forget(str(self._launcher.broker), self._launcher.namespace)


def until(condition: Callable[[], T], tell: Callable[[], str] = lambda: "") -> T:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + WITHIN_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"it did not come true in time\n{tell()}"
        time.sleep(0.2)
    return value
