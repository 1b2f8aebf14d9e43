"""The services of compose.yaml as plain processes on loopback.

Command, environment, secrets, volumes and health check are read from the file and the Dockerfile. Changed is what a
container has of its own: addresses, ports and folders.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from trading_assets.chaos.installation import free_port
from trading_assets_tests.deploy.surroundings import DEPLOY, ROOT, compose

DOCKERFILE = (ROOT / "Dockerfile").read_text()
HOSTS = ("postgres", "rabbitmq", "code", "exchange")
ASK_AGAIN_S = 2.0
"""A check is a process that imports, beside those that are to get ready."""


class Services:
    """Processes of the services, each with its children in a session of its own.

    Args:
        folder: where secrets, volumes and each container's /tmp are.
        databases: URLs of Dagster's database and of the ledger.
        settings: what `.env` would say.
    """

    def __init__(
        self, folder: Path, *, databases: tuple[str, str], broker: str, namespace: str, settings: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("web", "code", "exchange", "monitor", "dashboard")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.settings = {
            "TRADING_ASSETS_SIMULATOR_URL": f"http://127.0.0.1:{self.ports['exchange']}",
            "TRADING_ASSETS_UI_URL": f"http://127.0.0.1:{self.ports['web']}",
            "TRADING_ASSETS_DASHBOARD_URL": f"http://127.0.0.1:{self.ports['dashboard']}",
            **settings,
        }
        url = sa.make_url(broker.replace("amqp://", "postgresql://", 1))
        self._ports_of_roles = {
            "LISTEN_HOST": "127.0.0.1",
            **{f"{name.upper()}_PORT": str(self.ports[name]) for name in ("web", "code", "exchange")},
        }
        self._places = {
            "BROKER_NAMESPACE": namespace,
            "BROKER_USER": url.username or "guest",
            "BROKER_HOST": url.host or "127.0.0.1",
            "BROKER_PORT": str(url.port or 5672),
            "DAGSTER_POSTGRES_URL": databases[0],
            "TRADING_ASSETS_DATABASE_URL": databases[1],
        }
        shutil.copy(DEPLOY / "compose" / "secrets.sh", folder)
        subprocess.run(["bash", str(folder / "secrets.sh")], check=True, capture_output=True)
        password = folder / "secrets" / "broker_password"
        password.chmod(0o600)
        password.write_text(url.password or "guest")
        for source, target in re.findall(r"^COPY (?!--from)(.+) (/opt/trading_assets/\S*)$", DOCKERFILE, re.MULTILINE):
            for one in source.split():
                path = Path(self.here("", target))
                path = path / Path(one).name if target.endswith("/") else path
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / one, path)

    def here(self, service: str, text: str) -> str:
        """A path of the service's container, as one of this machine."""
        described = compose()["services"].get(service, {})
        mounted = {
            target: self.folder / "volumes" / volume
            for volume, target in (one.split(":")[:2] for one in described.get("volumes", []))
        }
        secrets = {f"/run/secrets/{name}": self.folder / "secrets" / name for name in described.get("secrets", [])}
        places = {
            **mounted,
            **secrets,
            "/opt/trading_assets": self.folder / "opt",
            "/tmp": self.folder / "tmp" / service,
        }
        for begin, place in places.items():
            if text == begin or text.startswith(f"{begin}/"):
                return f"{place}{text.removeprefix(begin)}"
        return text

    def environment(self, service: str) -> dict[str, str]:
        """What its container would have, with the addresses of this machine."""
        given = {**_image(), **compose()["services"][service]["environment"]}
        found = {name: self.here(service, self._interpolated(str(value))) for name, value in given.items()}
        for name, value in found.items():
            if value in HOSTS or value == "0.0.0.0":
                found[name] = "127.0.0.1"
        own = dict(self._ports_of_roles) if "BROKER_HOST" not in found else {**self._ports_of_roles, **self._places}
        for name in ("MONITOR", "DASHBOARD"):
            if f"TRADING_ASSETS_{name}_PORT" in found:
                own[f"TRADING_ASSETS_{name}_PORT"] = str(self.ports[name.lower()])
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **found, **own, "PATH": path}

    def _interpolated(self, text: str) -> str:
        return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: self.settings.get(found[1], found[2]), text)

    def command(self, service: str) -> list[str]:
        """The image's entry point with the service's command; without tini, as the test reaps."""
        (entry,) = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
        words = json.loads(entry)
        return self._words(service, [*words[words.index("--") + 1 :], *compose()["services"][service]["command"]])

    def _words(self, service: str, words: list[str]) -> list[str]:
        return [sys.executable if word == "python3" else self.here(service, word) for word in words]

    def start(self, service: str) -> None:
        """Start its process; what it prints is added to `SERVICE.log`."""
        temporary = Path(self.here(service, "/tmp"))
        shutil.rmtree(temporary, ignore_errors=True)  # a container that is started anew has an empty one
        temporary.mkdir(parents=True)
        for one in compose()["services"][service].get("volumes", []):
            (self.folder / "volumes" / one.split(":")[0]).mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{service}.log").open("ab") as log:
            self._processes[service] = subprocess.Popen(
                self.command(service),
                env=self.environment(service), cwd=temporary, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, service: str) -> None:
        """Start it, and wait for its end.

        Raises:
            AssertionError: it has failed.
        """
        self.start(service)
        assert self._processes.pop(service).wait(600) == 0, self.tails()

    def kill(self, service: str) -> None:
        """All of its processes at once, as a container's."""
        process = self._processes.pop(service)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(120)

    def is_well(self, service: str) -> bool:
        """What its health check says."""
        words = self._words(service, compose()["services"][service]["healthcheck"]["test"][1:])
        asked = subprocess.run(words, env=self.environment(service), capture_output=True, text=True, check=False)
        return asked.returncode == 0

    def until_well(self, service: str) -> None:
        """Until its health check passes, which costs a second of imports for some."""
        deadline = time.monotonic() + 600
        while not self.is_well(service):
            assert time.monotonic() < deadline, f"{service} is not well in time\n{self.tails()}"
            assert self._processes[service].poll() is None, f"{service} has ended\n{self.tails()}"
            time.sleep(ASK_AGAIN_S)

    def tails(self) -> str:
        """The last lines of every process, for a test that fails."""
        logs = [(path.name, path.read_text(errors="replace")[-2500:]) for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(f"--- {name}\n{tail}" for name, tail in logs)

    def end(self) -> None:
        for service in list(self._processes):
            self.kill(service)


def _image() -> dict[str, str]:
    """Variables of the image that say where things are."""
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    given = dict(re.findall(r"\b([A-Z_]+)=(/\S+)", re.search(r"^ENV (?:.*\\\n)*.*$", last, re.MULTILINE)[0]))
    return {name: given[name] for name in ("HOME", "DAGSTER_HOME", "TRADING_ASSETS_HOME")}
