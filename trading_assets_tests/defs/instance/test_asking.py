"""Dagster's processes ask each other less often than stock's, and often enough to live."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from dagster._daemon.controller import DAEMON_GRPC_SERVER_HEARTBEAT_TTL
from dagster._grpc import client, server_watcher

from trading_assets.defs.instance.asking import HEARTBEAT_EVERY_S, WATCH_EVERY_S, ask_less_often


def test_both_intervals_are_longer_and_a_server_hears_three_heartbeats_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "CLIENT_HEARTBEAT_INTERVAL", 1)
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", 1)
    monkeypatch.setitem(sys.modules, "dagster_webserver.cli", ModuleType("dagster_webserver.cli"))
    ask_less_often()
    assert (client.CLIENT_HEARTBEAT_INTERVAL, server_watcher.WATCH_INTERVAL) == (HEARTBEAT_EVERY_S, WATCH_EVERY_S)
    assert 3 * HEARTBEAT_EVERY_S < DAEMON_GRPC_SERVER_HEARTBEAT_TTL


def test_a_version_without_these_names_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_webserver.cli", ModuleType("dagster_webserver.cli"))
    monkeypatch.setattr(client, "CLIENT_HEARTBEAT_INTERVAL", 1)
    monkeypatch.delattr(server_watcher, "WATCH_INTERVAL")
    ask_less_often()
    assert not hasattr(server_watcher, "WATCH_INTERVAL")


PROCESS = """
import {module}
from trading_assets.defs.instance.storage import BatchedSqliteStorage
BatchedSqliteStorage({place!r})
from dagster._grpc.server_watcher import WATCH_INTERVAL
print(WATCH_INTERVAL)
"""

RUN = """
import sys
from trading_assets.defs.instance.storage import BatchedSqliteStorage
BatchedSqliteStorage({place!r})
print("dagster._grpc.server_watcher" in sys.modules)
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (PROCESS.replace("{module}", "dagster_webserver.cli"), str(WATCH_EVERY_S)),
        (PROCESS.replace("{module}", "dagster._daemon.cli"), str(WATCH_EVERY_S)),
        (RUN, "False"),
    ],
    ids=["web server", "daemon", "run"],
)
def test_web_server_and_daemon_ask_so_and_a_run_imports_nothing_for_it(program: str, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", program.format(place=str(tmp_path))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1] == said
