"""compose.yaml with real containers: started in order, a worker killed, backed up, thrown away, restored.

`make compose-test`. It needs the image (`make image`), podman and podman-compose, or Docker with its plugin. Everything
is done in a project of its own, in a copy of this folder, and taken away at the end. Images that cannot be pulled have
stand-ins: `stand_ins/build.sh` builds them, and prints the variables that name them.

PODMAN and COMPOSE name the programs ("podman", "podman-compose"). Health checks are asked one by one, because podman
runs them only where systemd does.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = "ta-compose-test"
WAIT_S = 900.0
GROUPS = ("scan", "market_data", "backtests", "selection")
HOURS = ("2026-03-02-05:00", "2026-03-02-06:00", "2026-03-02-07:00", "2026-03-02-08:00")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Trial:
    """A copy of the folder with secrets of its own, and the programs that are called in it."""

    def __init__(self, folder: Path) -> None:
        self.podman = os.environ.get("PODMAN", "podman").split()
        self.compose = os.environ.get("COMPOSE", "podman-compose").split()
        for name in (self.podman[0], self.compose[0]):
            if shutil.which(name) is None:
                raise SystemExit(f"{name} is not installed, so real containers cannot be tried; set PODMAN and COMPOSE")
        image = os.environ.get("TRADING_ASSETS_IMAGE", "trading_assets:local")
        if subprocess.run([*self.podman, "image", "inspect", image], capture_output=True, check=False).returncode != 0:
            raise SystemExit(f"found no image {image}: say `make image`, or name another one by TRADING_ASSETS_IMAGE")
        self.folder = folder / "compose"
        shutil.copytree(HERE, self.folder, ignore=shutil.ignore_patterns("secrets", "backups", ".env"))
        shutil.copytree(HERE.parent / "observability", folder / "observability")
        self.web = free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_PROFILES": "exchange",
            "COMPOSE": " ".join(self.compose),
            "WEB_PUBLISHED_PORT": str(self.web),
            "DASHBOARD_PUBLISHED_PORT": str(free_port()),
            "TRADING_ASSETS_MAX_SYMBOLS": "5",
            "TRADING_ASSETS_BACKFILL_HOURS_PER_RUN": "1",
            "RESEARCH_CONCURRENCY": "2",
            "RESEARCH_PROCESSES": "4",
        }
        self.began = time.monotonic()
        subprocess.run(["bash", "secrets.sh"], cwd=self.folder, check=True, capture_output=True)

    def say(self, text: str) -> None:
        """Tell what has happened, and when."""
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", flush=True)

    def call(self, *words: str, check: bool = True) -> str:
        """Run a program in the folder.

        Raises:
            SystemExit: it failed; its output is shown.
        """
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"[-6000:])
        return done.stdout

    def up(self, *services: str, more: tuple[str, ...] = ()) -> None:
        """Start services, without what they wait for."""
        self.call(*self.compose, "up", "-d", "--no-deps", *more, *services)

    def containers(self, service: str) -> list[str]:
        """Names of a service's containers that run."""
        words = ("ps", "--format", "{{.Names}}", "--filter", f"name={PROJECT}")
        names = self.call(*self.podman, *words).split()
        return sorted(
            one for one in names if one.replace("-", "_").startswith(f"{PROJECT}_{service}_".replace("-", "_"))
        )

    def works(self, service: str, *command: str) -> Callable[[], bool]:
        """Whether a command succeeds in every container of the service."""

        def ask() -> bool:
            names = self.containers(service)
            return bool(names) and all(
                subprocess.run([*self.podman, "exec", name, *command], capture_output=True, check=False).returncode == 0
                for name in names
            )

        return ask

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Wait until it is so.

        Raises:
            SystemExit: it is not so in 15 minutes; the containers' last lines are shown.
        """
        end = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > end:
                for name in self.call(*self.podman, "ps", "-a", "--format", "{{.Names}}").split():
                    if name.replace("-", "_").startswith(PROJECT.replace("-", "_")):
                        shown = subprocess.run(
                            [*self.podman, "logs", "--tail", "15", name], capture_output=True, check=False
                        )
                        print(f"--- {name}\n{(shown.stdout + shown.stderr).decode()[-2500:]}")
                raise SystemExit(f"not within {WAIT_S:.0f} s: {what}")
            time.sleep(2)
        self.say(what)

    def healthy(self, *roles: str) -> None:
        """Wait until roles of ours pass their own checks."""
        for role in roles:
            self.wait(f"{role} is well", self.works(role, "python3", "/opt/trading_assets/health.py", role))

    def inside(self, service: str, *words: str) -> str:
        """What a command of ours prints in a container."""
        name = self.containers(service)[0]
        return self.call(*self.podman, "exec", name, "python3", "/opt/trading_assets/role.py", *words)

    def container_of(self, workers: list[str]) -> str:
        """The container that has the host name of one of the workers.

        Raises:
            SystemExit: none has.
        """
        for name in self.containers("research"):
            host = self.call(*self.podman, "exec", name, "hostname").strip()
            if f"research@{host}" in workers:
                return name
        raise SystemExit(f"found no container of the workers {workers}")

    def graphql(self, query: str, **variables: object) -> dict[str, object]:
        """Ask the web server, through the guard, with the token."""
        token = (self.folder / "secrets" / "ui_token").read_text()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, object] = json.load(answer)["data"]
        return found

    def runs(self, job: str = "") -> list[dict[str, object]]:
        """Runs, of a job where it is named: status, tags."""
        chosen = f'pipelineName: "{job}"' if job else ""
        found = self.graphql(
            f"{{ runsOrError(filter: {{{chosen}}}) {{ ... on Runs {{ results {{ runId status "
            "tags { key value } } } } }"
        )
        return found["runsOrError"]["results"]  # type: ignore[index]


def tag(run: dict[str, object], key: str) -> str:
    """A tag of a run, or nothing."""
    return next((one["value"] for one in run["tags"] if one["key"] == key), "")  # type: ignore[attr-defined]


def postgres_is_ready(trial: Trial) -> Callable[[], bool]:
    """Whether PostgreSQL answers over TCP, as it does after its first start alone."""
    return trial.works("postgres", "pg_isready", "--username", "trading_assets", "--host", "127.0.0.1")


def start(trial: Trial) -> None:
    """To services that are well, in the order of `depends_on`."""
    trial.up("postgres", "rabbitmq")
    trial.wait("PostgreSQL is ready", postgres_is_ready(trial))
    trial.wait(
        "RabbitMQ is ready", trial.works("rabbitmq", "rabbitmq-diagnostics", "--quiet", "check_port_connectivity")
    )
    trial.call(*trial.compose, "run", "--rm", "--no-deps", "-T", "migrate")
    trial.say("databases and tables are there")
    trial.up("exchange", "code")
    trial.healthy("exchange", "code")
    trial.up("web", "daemon", "trading", "serve")
    trial.up("research", more=("--scale", "research=2"))
    trial.healthy("web", "research", "trading", "serve", "daemon")


def of_backfill(trial: Trial) -> list[dict[str, object]]:
    """Runs of the backfill that was asked for."""
    return [run for run in trial.runs() if tag(run, "dagster/backfill")]


def ask_for_a_backfill(trial: Trial) -> str:
    """As "Launch backfill" in the UI does, of all that research makes; the backfill's id.

    Not `dagster job backfill`: that one counts as complete once its runs are queued, and a lost run of a backfill that
    is complete is not begun again.
    """
    nodes = trial.graphql("{ assetNodes { groupName isPartitioned assetKey { path } } }")["assetNodes"]
    keys = [node["assetKey"] for node in nodes if node["isPartitioned"] and node["groupName"] in GROUPS]  # type: ignore[attr-defined]
    mutation = (
        "mutation($given: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $given) "
        "{ __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"
    )
    given = {"assetSelection": keys, "partitionNames": list(HOURS), "tags": []}
    found = trial.graphql(mutation, given=given)["launchPartitionBackfill"]
    if "backfillId" not in found:  # type: ignore[operator]
        raise SystemExit(f"the backfill was not launched: {found}")
    return str(found["backfillId"])  # type: ignore[index]


def state_of(trial: Trial, backfill: str) -> str:
    """The state of a backfill."""
    query = f'{{ partitionBackfillOrError(backfillId: "{backfill}") {{ ... on PartitionBackfill {{ status }} }} }}'
    return str(trial.graphql(query)["partitionBackfillOrError"]["status"])  # type: ignore[index]


def workers_at_work(trial: Trial) -> list[str]:
    """Names of the workers that have a run of the backfill."""
    return [tag(run, "trading_assets/worker") for run in of_backfill(trial) if run["status"] == "STARTED"]


def workers_of_successes(trial: Trial) -> list[str]:
    """Names of the workers that have ended a run of the backfill."""
    return [tag(run, "trading_assets/worker") for run in of_backfill(trial) if run["status"] == "SUCCESS"]


def backfill_with_a_lost_worker(trial: Trial) -> None:
    """Four hours over two workers, one of which is killed while it works."""
    backfill = ask_for_a_backfill(trial)
    trial.wait("a worker researches an hour", lambda: bool(workers_at_work(trial)))
    lost = trial.container_of(workers_at_work(trial))
    trial.call(*trial.podman, "kill", lost)
    trial.say(f"{lost} is killed at work")
    trial.wait("the other worker has researched an hour", lambda: bool(workers_of_successes(trial)))
    trial.call(*trial.podman, "start", lost)

    trial.wait("the backfill has ended", lambda: state_of(trial, backfill) not in ("REQUESTED", "CANCELING", "FAILING"))
    if state_of(trial, backfill) != "COMPLETED_SUCCESS":
        raise SystemExit(f"the backfill is {state_of(trial, backfill)}, expected COMPLETED_SUCCESS")
    again = [run for run in of_backfill(trial) if tag(run, "dagster/retry_number")]
    trial.say(f"every hour is researched, {len(again)} runs were begun again elsewhere")


def rows(trial: Trial) -> str:
    """Numbers of rows that a restore must give back."""
    query = "select (select count(*) from strategy_selections), (select count(*) from backtest_results)"
    words = ("psql", "--username", "trading_assets", "--dbname", "trading_assets", "-Atc", query)
    return trial.call(*trial.podman, "exec", trial.containers("postgres")[0], *words).strip()


def clear(trial: Trial, down: tuple[str, ...]) -> None:
    """Take away all containers and volumes of the trial, also those of a scaled service, which `down` may leave."""
    trial.call(*down, check=False)
    for kind, words in (("ps", ("-aq",)), ("volume", ("ls", "-q"))):
        found = trial.call(*trial.podman, kind, *words, "--filter", f"name={PROJECT}").split()
        if found:
            trial.call(*trial.podman, *(("rm", "-f") if kind == "ps" else ("volume", "rm", "-f")), *found)


def kills(trial: Trial) -> None:
    """A worker is lost at work, and each other service is killed and started again."""
    backfill_with_a_lost_worker(trial)
    for service in ("code", "daemon", "trading", "web", "serve"):
        trial.call(*trial.podman, "kill", trial.containers(service)[0])
        trial.up(service)
        trial.healthy(service)


def backup(trial: Trial, down: tuple[str, ...]) -> None:
    """Backed up, thrown away, restored: the same rows, and an installation that works."""
    for job in ("research", "reconcile"):
        trial.wait(
            f"a run of {job} has succeeded",
            lambda job=job: any(run["status"] == "SUCCESS" for run in trial.runs(job)),  # type: ignore[misc]
        )
    # A backup is compared with a ledger that nobody writes to meanwhile.
    trial.call(*trial.compose, "stop", "-t", "60", "daemon", "research", "trading", "code", "web", "serve")
    before = rows(trial)
    folder = trial.call("bash", "backup.sh").split()[-1]
    trial.say(f"backed up: {before} selections|backtests")
    clear(trial, down)
    trial.up("postgres")
    trial.wait("an empty PostgreSQL is ready", postgres_is_ready(trial))
    trial.call("bash", "restore.sh", str(trial.folder / folder))
    after = rows(trial)
    if after != before:
        raise SystemExit(f"found {after} after the restore, expected {before}")
    trial.say("restored: the same rows")
    start(trial)
    trial.say("the restored installation works")


def main(parts: list[str]) -> int:
    """The whole trial, or the parts that are named: kills, backup."""
    if unknown := set(parts) - {"kills", "backup"}:
        raise SystemExit(f"found {sorted(unknown)}, expected some of: kills, backup")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        trial = Trial(Path(folder))
        down = (*trial.compose, "down", "-v", "-t", "20")
        clear(trial, down)
        try:
            start(trial)
            if not parts or "kills" in parts:
                kills(trial)
            if not parts or "backup" in parts:
                backup(trial, down)
        finally:
            clear(trial, down)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
