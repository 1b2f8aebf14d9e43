"""A command that acts ends, also where a database takes a connection and says nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from trading_assets.core.deadline import EXIT_CODE, ends_within


@pytest.mark.slow
@pytest.mark.parametrize("command", [["reduce"], ["strategies", "stop", "hyperrsi"]])
def test_a_command_ends_although_the_database_is_silent(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:very-secret@127.0.0.1:{silent.getsockname()[1]}/x"
        settings = {
            "TRADING_ASSETS_DATABASE_URL": url,
            "TRADING_ASSETS_COMMAND_DEADLINE_S": "3",
            "TRADING_ASSETS_SIMULATOR_SYMBOLS": "2",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "trading_assets.cli.main", *command],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert ended.returncode == EXIT_CODE, ended.stderr
    assert "has not ended within 3 s" in ended.stderr and "very-secret" not in ended.stderr + ended.stdout


def test_what_ends_in_time_is_left_alone() -> None:
    left: list[str] = []
    with ends_within(600, "halt", leave=left.append):
        pass
    over = threading.Event()
    with ends_within(0.01, "halt", leave=lambda text: (left.append(text), over.set())):  # type: ignore[func-returns-value,arg-type,return-value]
        assert over.wait(60)
    assert len(left) == 1 and "halt has not ended" in left[0]
