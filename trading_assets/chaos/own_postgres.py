"""A PostgreSQL server of a trial's own, which may be killed, stopped and started again at any moment."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import sqlalchemy as sa

from trading_assets.core.errors import ConfigurationError, StorageError

USER = "postgres"
STARTS_WITHIN_S = 90.0
CONNECTIONS = 24
"""The server takes so many, three of them for its superuser."""


class OwnPostgres:
    """A server in a directory, on loopback. As root it runs as the user `postgres`.

    Raises:
        ConfigurationError: PostgreSQL's programs are not installed.
        StorageError: it does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._data, self._log = folder / "data", folder / "server.log"
        self._programs = _programs()
        self._user = USER if os.getuid() == 0 else None
        folder.mkdir(parents=True)
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        made = subprocess.run(
            [self._programs / "initdb", "-D", self._data, "-U", USER, "--auth=trust", "--no-sync"],
            capture_output=True,
            text=True,
            user=self._user,
            cwd=folder,
            check=False,
        )
        if made.returncode:
            raise StorageError(f"initdb failed: {made.stderr[-500:]}")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.administer("CREATE ROLE trader LOGIN", "CREATE DATABASE ledger OWNER trader")

    @property
    def url(self) -> str:
        """Of the ledger, for a user without special rights."""
        return f"postgresql://trader@127.0.0.1:{self._port}/ledger"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = ["-c", f"port={self._port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        options += ["-c", f"max_connections={CONNECTIONS}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._data.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            try:
                self.administer("SELECT 1")
            except sa.exc.OperationalError:
                time.sleep(0.2)
            else:
                return
        raise StorageError(f"PostgreSQL does not start: see {self._log}")

    def administer(self, *statements: str) -> None:
        """Run statements as the superuser."""
        url = f"postgresql+psycopg2://{USER}@127.0.0.1:{self._port}/postgres"
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """It answers nothing, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The opposite."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, in whatever state it is."""
        self.thaw()
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        main = psutil.Process(self._process.pid)
        for process in (main, *main.children(recursive=True)):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "postgres").exists():
            return folder
    raise ConfigurationError(
        "PostgreSQL's server is not installed (initdb, postgres): leave these trials out with --only"
    )
