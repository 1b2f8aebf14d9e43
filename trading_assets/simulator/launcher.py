"""Starts the embedded exchange on first use and finds the one that runs. It serves nothing itself."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

import trading_assets
from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError, StorageError
from trading_assets.core.private_files import FILE, private_file, private_folder
from trading_assets.core.settings import PREFIX, Settings
from trading_assets.simulator import files
from trading_assets.simulator.clock import ClockSpec

HEALTH_TIMEOUT_S = 5.0
READY_TIMEOUT_S = 20.0
MAX_HEALTH_BYTES = 1_000_000
POLL_S = 0.02
LOG_LINES = 12
INHERITED = frozenset(
    {
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "LANG",
            "LANGUAGE",
            "TZ",
            "TMPDIR",
            "TEMP",
            "TMP",
            "SYSTEMROOT",
            "SystemRoot",
        ),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX", "PYTHONUTF8", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
        *("TRADING_ASSETS_LOG_FORMAT", "TRADING_ASSETS_LOG_LEVEL"),
    }
)
"""Variables that the exchange's process gets. Another one may hold a secret, whatever its name."""


@dataclass(frozen=True)
class ExchangeSpec:
    """What a running exchange must be to be used, and how one is started.

    Attributes:
        told: what it must say of itself (`/admin/health`).
        variables: of the environment that it gets besides `INHERITED`.
    """

    home: Path
    told: Mapping[str, object]
    command: tuple[str, ...]
    variables: tuple[str, ...] = ()


def ensure_running(settings: Settings, *, clock: ClockSpec | None = None) -> str:
    """Base URL of the embedded exchange of these settings, started if nobody has yet.

    A `clock` is the one a new account begins with; a stored account resumes its own and refuses another mode.
    None takes the stored clock, or the real one.

    Raises:
        ExchangeUnavailableError: `simulator_url` does not answer, or the exchange could not be started.
        ConfigurationError: it runs, but with another seed, number of symbols or clock.
        StorageError: the home cannot be written.
    """
    if settings.simulator_url is not None:
        return _answering(settings.simulator_url.rstrip("/"))
    home = settings.simulator_home
    told: dict[str, object] = {"seed": settings.simulator_seed, "symbols": settings.simulator_symbols}
    if clock is not None:
        told["clock"] = clock.mode.value
    wanted = ExchangeSpec(home, told, tuple(_command(settings, clock)))
    return ensure_served(
        wanted,
        advice=f"stop it (`trading-assets exchange stop`) and move {home} away, or set the settings to what runs",
    )


def ensure_served(wanted: ExchangeSpec, *, advice: str) -> str:
    """Base URL of the exchange that is wanted, started if nobody has yet.

    Args:
        advice: what to do where another one runs in its home.

    Raises:
        ExchangeUnavailableError: it could not be started.
        ConfigurationError: another one runs.
        StorageError: the home cannot be written.
    """
    home = wanted.home
    url = _running(wanted, advice)
    if url is not None:
        return url
    try:
        private_folder(home)
        with FileLock(home / files.START_LOCK, timeout=2 * READY_TIMEOUT_S, mode=FILE):
            return _running(wanted, advice) or _start(wanted, advice)
    except Timeout:
        raise ExchangeUnavailableError(
            f"another process has been starting the embedded exchange of {home} for more than "
            f"{2 * READY_TIMEOUT_S:.0f} s: see {home / files.SERVER_LOG}, end that process and try again"
        ) from None
    except OSError as error:
        raise StorageError(
            f"the home of the embedded exchange, {home}, cannot be used: {error}. Check permissions and free "
            f"space, or set {PREFIX}HOME"
        ) from error


def health(url: str, timeout_s: float = HEALTH_TIMEOUT_S) -> dict[str, Any] | None:
    """The answer of `/admin/health`, or None when no embedded exchange answers there. Never uses a proxy."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/admin/health")
        response = connection.getresponse()
        answer = json.loads(response.read(MAX_HEALTH_BYTES)) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) and "pid" in answer and "seed" in answer else None


def _answering(url: str) -> str:
    """The URL of an exchange on this machine or another one, which tells less of itself."""
    if health(url) is None:
        raise ExchangeUnavailableError(
            f"no embedded exchange answers at {url}/admin/health ({PREFIX}SIMULATOR_URL): start it there "
            "with `trading-assets exchange serve`, or unset the variable to have one started on first use"
        )
    return url


def _running(wanted: ExchangeSpec, advice: str) -> str | None:
    """URL of the exchange that serves this home now, or None.

    Raises:
        ConfigurationError: it is another one than wanted.
    """
    info = _read_info(wanted.home)
    if info is None:
        return None
    url = str(info["url"])
    answer = health(url)
    if answer is None or answer["pid"] != info["pid"] or answer.get("home") != str(wanted.home.resolve()):
        return None
    found = {name: answer.get(name) for name in wanted.told}
    if found != dict(wanted.told):
        raise ConfigurationError(
            f"the embedded exchange at {url} runs with {_spelled(found)}, these settings ask for "
            f"{_spelled(dict(wanted.told))}: {advice}"
        )
    return url


def _spelled(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _read_info(home: Path) -> dict[str, Any] | None:
    try:
        info = json.loads((home / files.SERVER_INFO).read_text())
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) and {"url", "pid"} <= info.keys() else None


def _start(wanted: ExchangeSpec, advice: str) -> str:
    home = wanted.home
    environment = _environment(wanted.variables)
    log_path = home / files.SERVER_LOG
    log_path.unlink(missing_ok=True)
    with private_file(log_path).open("wb") as log:
        process = subprocess.Popen(
            wanted.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=home,
        )
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        info = _read_info(home)
        if info is not None and info["pid"] == process.pid:
            url = _running(wanted, advice)
            if url is not None:
                return url
        code = process.poll()
        if code is not None:
            raise ExchangeUnavailableError(
                f"the embedded exchange ended with code {code} while starting; the end of {log_path}:\n"
                f"{_tail(log_path)}"
            )
        time.sleep(POLL_S)
    process.terminate()
    raise ExchangeUnavailableError(
        f"the embedded exchange did not answer within {READY_TIMEOUT_S:.0f} s; the end of {log_path}:\n"
        f"{_tail(log_path)}"
    )


def _environment(variables: tuple[str, ...] = ()) -> dict[str, str]:
    """What Python and the system need of ours, with this package first on the path: no key, no database, no token."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name in variables or name.startswith("LC_")
    }
    root = str(Path(trading_assets.__file__).resolve().parents[1])
    inherited = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{inherited}" if inherited else root
    return environment


def _command(settings: Settings, clock: ClockSpec | None) -> list[str]:
    command = [sys.executable, "-m", "trading_assets.simulator", "--home", str(settings.simulator_home), "--port", "0"]
    command += ["--seed", str(settings.simulator_seed), "--symbols", str(settings.simulator_symbols)]
    command += [
        "--deposit",
        str(settings.simulator_deposit),
        "--idle-stop",
        str(settings.simulator_idle_stop_s),
    ]
    if clock is not None:
        command += ["--clock", clock.mode.value, "--speed", str(clock.speed)]
        if clock.start_ms is not None:
            command += ["--start-ms", str(clock.start_ms)]
    return command


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-LOG_LINES:]) or "(the log is empty)"
