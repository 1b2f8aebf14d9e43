"""A command that acts ends, also where a database takes a connection and says nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from trading_assets.backup.manifest import FORMAT, NAME, Manifest
from trading_assets.cli.main import main
from trading_assets.core.deadline import EXIT_CODE, PARTS, ends_within, ends_without_progress, interrupted_within
from trading_assets_tests.forked import PROCESSES


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


def test_what_takes_back_what_it_did_is_interrupted_first() -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before, way = signal.signal(signal.SIGTERM, end), list[str]()
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_within(0.5, "rehearse"):
            try:
                threading.Event().wait(60)
                way.append("went on")
            finally:
                way.append("took back")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert way == ["took back"]


def test_something_long_ends_when_nothing_is_finished_any_more() -> None:
    left, over = list[str](), threading.Event()

    def leave(text: str) -> None:
        left.append(text)
        over.set()

    with ends_without_progress(600, "backup", leave=leave) as moved:
        moved()
    assert left == []
    with ends_without_progress(0.01, "backup", leave=leave) as moved:
        moved()
        assert over.wait(60)
    assert len(left) == 1 and f"backup has finished nothing for {PARTS * 0.01:g} s" in left[0]


@contextmanager
def dripping(beginning: bytes) -> Iterator[int]:
    """A server, by its port, that answers `beginning` and then a byte every 50 ms, for ever."""
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        with client:
            client.recv(65536)
            client.sendall(beginning)
            while not over.wait(0.05):
                client.sendall(b" ")

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_quietly, args=(drip, client), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        over.set()


def _quietly(drip: object, client: socket.socket) -> None:
    with suppress(OSError):
        drip(client)  # type: ignore[operator]


def _run(command: list[str], settings: dict[str, str], errors: str) -> None:
    os.environ.update(settings)
    file = os.open(errors, os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 2)
    sys.argv = ["trading-assets", *command]
    main()


def _ended(command: list[str], settings: dict[str, str], home: Path) -> tuple[int | None, str]:
    """Exit code and standard error of a command in a process of its own."""
    said = home / "stderr"
    process = PROCESSES.Process(target=_run, args=(command, {**settings, "TRADING_ASSETS_HOME": str(home)}, str(said)))
    process.start()
    process.join(120)
    process.kill()
    process.join()
    return process.exitcode, said.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["accounts", "fees"],
        ["accounts", "prepare", "--yes"],
        ["candles", "refetch"],
        ["ledger", "bind", "--venue", "simulator", "--yes"],
        ["rehearse", "--yes"],
    ],
)
def test_a_command_ends_although_its_exchange_drips(command: list[str], tmp_path: Path) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n") as port:
        settings = {
            "TRADING_ASSETS_SIMULATOR_URL": f"http://127.0.0.1:{port}",
            "TRADING_ASSETS_COMMAND_DEADLINE_S": "3",
        }
        code, said = _ended(command, settings, tmp_path)
    assert code == EXIT_CODE, said
    assert f"{' '.join(command[: 2 if command[1][0] != '-' else 1])} has not ended within 3 s" in said


@pytest.mark.slow
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_backup_and_a_restore_end_although_the_database_drips(command: str, tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    if command == "restore":
        manifest = Manifest(FORMAT, "1", 0, "simulator", "main", "postgresql", "0001")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(NAME, manifest.text())
    with dripping(b"R\x00\x00\x07\x00") as port:  # a request for a password, of 1,792 bytes
        settings = {
            "TRADING_ASSETS_DATABASE_URL": f"postgresql://u:very-secret@127.0.0.1:{port}/x?sslmode=disable",
            "TRADING_ASSETS_COMMAND_DEADLINE_S": "0.25",
        }
        code, said = _ended([command, str(path)], settings, tmp_path)
    assert code == EXIT_CODE, said
    assert f"{command} has finished nothing for 3 s" in said and "very-secret" not in said
