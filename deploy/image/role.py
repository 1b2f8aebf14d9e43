"""The image's entry point: makes the surroundings of a role, and then becomes that role's process.

`role.py web|code|daemon|research|trading|serve|exchange|migrate`, `role.py roles` lists them, anything else is run as
it is (`role.py trading-assets doctor`). What the process does is the project's: here are only its command, its secrets,
its `DAGSTER_HOME`, and the machine code that the image was warmed with. Only the standard library is imported, and
PyYAML once files are written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

TEMPLATES = Path(__file__).parent / "dagster"
WARM = Path("/opt/numba")

SECRETS = (
    "BROKER_PASSWORD",
    "BYBIT_API_KEY",
    "BYBIT_API_SECRET",
    "DAGSTER_POSTGRES_URL",
    "DATABASE_PASSWORD",
    "TRADING_ASSETS_BROKER_URL",
    "TRADING_ASSETS_DASHBOARD_TOKEN",
    "TRADING_ASSETS_DATABASE_URL",
    "TRADING_ASSETS_ENCRYPTION_KEY",
    "TRADING_ASSETS_MONITOR_TOKEN",
    "TRADING_ASSETS_NOTIFY_URLS",
    "TRADING_ASSETS_TELEGRAM_TOKEN",
    "TRADING_ASSETS_UI_TOKEN",
)
"""Variables that may be given as NAME_FILE, the path of a file with the value."""

KEYS = ("BYBIT_API_KEY", "BYBIT_API_SECRET", "TRADING_ASSETS_ENCRYPTION_KEY", "TRADING_ASSETS_SECRETS")
KEYLESS = ("web", "daemon", "research")
"""Roles that never get a key of an account, also where the environment has one."""


def commands(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """The command of each role."""
    workspace = f"{environment.get('DAGSTER_HOME', '/tmp/dagster')}/workspace.yaml"
    json_lines = ["--log-format", "json"] if environment.get("TRADING_ASSETS_LOG_FORMAT") == "json" else []
    worker = ["celery", "-A", "trading_assets.celery_app:{0}", "worker", "-n", "{0}@%h", "--loglevel", "INFO"]
    research = [one.format("research") for one in worker]
    # A container has an address of its own, so all of them are listened at.
    listen = environment.get("LISTEN_HOST", "0.0.0.0")
    web_port, code_port = environment.get("WEB_PORT", "3000"), environment.get("CODE_PORT", "4000")
    code = ["dagster", "api", "grpc", "-h", listen, "-p", code_port, "-m", "trading_assets.definitions"]
    exchange = ["trading-assets", "exchange", "serve", "--host", listen, "--allow-host", "exchange"]
    return {
        "web": ["trading-assets", "web", "-h", listen, "-p", web_port, "-w", workspace, *json_lines],
        "code": [*code, "--location-name", "trading_assets", *json_lines],
        "daemon": ["dagster-daemon", "run", "-w", workspace, *json_lines],
        "research": [*research, "--concurrency", environment.get("RESEARCH_CONCURRENCY", "4")],
        "trading": [one.format("trading") for one in worker],
        "serve": ["trading-assets", "serve"],
        "exchange": [*exchange, "--port", environment.get("EXCHANGE_PORT", "8765")],
    }


def read_secrets(environment: MutableMapping[str, str]) -> None:
    """Replace each NAME_FILE by NAME, the file's text without the end of its last line.

    Raises:
        SystemExit: a file cannot be read, or a value is given twice.
    """
    for name in SECRETS:
        path = environment.pop(f"{name}_FILE", "")
        if not path:
            continue
        if environment.get(name):
            raise SystemExit(f"{name} and {name}_FILE are both set; expected one of them")
        try:
            value = Path(path).read_text().rstrip("\r\n")
        except OSError as error:
            raise SystemExit(f"{name}_FILE is {path!r}, which cannot be read: {error.strerror}") from error
        if value:
            environment[name] = value


def compose_urls(environment: MutableMapping[str, str]) -> None:
    """Make the URLs of databases and broker from their parts, where no URL is given.

    A managed password has characters that a URL must quote, and is given to a container alone: as a part.

    Raises:
        SystemExit: a part is missing.
    """
    if environment.get("DATABASE_HOST"):
        place = _place(environment, "DATABASE", "5432")
        options = environment.get("DATABASE_OPTIONS", "")
        for name, database in (
            ("DAGSTER_POSTGRES_URL", environment.get("DATABASE_DAGSTER", "dagster")),
            ("TRADING_ASSETS_DATABASE_URL", environment.get("DATABASE_LEDGER", "trading_assets")),
        ):
            environment.setdefault(name, f"postgresql://{place}/{database}{'?' + options if options else ''}")
    if environment.get("BROKER_HOST"):
        scheme = environment.get("BROKER_SCHEME", "amqp")
        place = _place(environment, "BROKER", "5671" if scheme == "amqps" else "5672")
        environment.setdefault("TRADING_ASSETS_BROKER_URL", f"{scheme}://{place}//")


def _place(environment: Mapping[str, str], prefix: str, port: str) -> str:
    missing = [name for name in (f"{prefix}_USER", f"{prefix}_PASSWORD") if not environment.get(name)]
    if missing:
        raise SystemExit(f"{prefix}_HOST is set, {' and '.join(missing)} not; expected all, or a URL instead")
    user, password = (quote(environment[f"{prefix}_{part}"], safe="") for part in ("USER", "PASSWORD"))
    return f"{user}:{password}@{environment[f'{prefix}_HOST']}:{environment.get(f'{prefix}_PORT', port)}"


def with_limits(instance: dict[str, Any], research_processes: int, start_timeout_s: int) -> dict[str, Any]:
    """A `dagster.yaml` for workers, whose groups ask for no more research processes than there are.

    A run that waits for a process longer than the start timeout is given up. So research, manual, daily runs and those
    of backfills are together as many as all research workers have processes.

    Raises:
        SystemExit: fewer than four processes: one for each of these groups.
    """
    if research_processes < 4:
        raise SystemExit(
            f"RESEARCH_PROCESSES is {research_processes}; expected at least 4: one each for the hour's research, "
            "what is materialised by hand, the daily reports and a backfill"
        )
    manual = 1 if research_processes < 8 else 2
    wanted = {"manual": manual, "backfill": research_processes - 2 - manual}
    limits = instance["concurrency"]["runs"]["tag_concurrency_limits"]
    for limit in limits:
        limit["limit"] = wanted.get(limit["value"], limit["limit"])
    instance["concurrency"]["runs"]["max_concurrent_runs"] = sum(limit["limit"] for limit in limits)
    instance["run_monitoring"]["start_timeout_seconds"] = start_timeout_s
    return instance


def workspace(environment: Mapping[str, str]) -> dict[str, Any]:
    """Where the code is: at a code server, or in each process where none is named."""
    host = environment.get("CODE_HOST", "")
    if not host:
        module = {"module_name": "trading_assets.definitions", "location_name": "trading_assets"}
        return {"load_from": [{"python_module": module}]}
    server = {"host": host, "port": int(environment.get("CODE_PORT", "4000")), "location_name": "trading_assets"}
    return {"load_from": [{"grpc_server": server}]}


def make_dagster_home(environment: Mapping[str, str], templates: Path = TEMPLATES) -> None:
    """Write `dagster.yaml` and `workspace.yaml` of this role's process into DAGSTER_HOME.

    LAUNCHER says where runs are: `workers` (Celery's), or `processes` beside the code server.
    """
    import yaml

    launcher = environment.get("LAUNCHER", "workers")
    template = templates / f"{launcher}.yaml"
    if not template.is_file():
        raise SystemExit(f"LAUNCHER is {launcher!r}; expected workers or processes")
    instance = yaml.safe_load(template.read_text())
    if launcher == "workers":
        processes, timeout = environment.get("RESEARCH_PROCESSES", "4"), environment.get("START_TIMEOUT_S", "180")
        instance = with_limits(instance, int(processes), int(timeout))
        if namespace := environment.get("BROKER_NAMESPACE"):
            instance["run_launcher"]["config"]["namespace"] = namespace
    else:
        folder = f"{environment['TRADING_ASSETS_HOME']}/compute_logs"
        instance["compute_logs"] = {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": folder},
        }
    home = Path(environment["DAGSTER_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance, sort_keys=False))
    (home / "workspace.yaml").write_text(yaml.safe_dump(workspace(environment), sort_keys=False))


def copy_machine_code(environment: Mapping[str, str], warm: Path = WARM) -> None:
    """Put the warmed code where it can be written, as numba refuses to work with a cache that cannot."""
    place = Path(environment.get("NUMBA_CACHE_DIR", "/tmp/numba"))
    if warm.is_dir() and not place.exists():
        shutil.copytree(warm, place)


def create_databases(environment: Mapping[str, str]) -> None:
    """Create those of the two databases that are not there. They are not created where the server refuses it."""
    import psycopg2
    from psycopg2 import sql

    for name in ("DAGSTER_POSTGRES_URL", "TRADING_ASSETS_DATABASE_URL"):
        url = environment.get(name, "").replace("postgresql+psycopg2://", "postgresql://")
        if not url:
            raise SystemExit(f"{name} is not set; expected postgresql://user:password@host/database")
        head, _, options = url.partition("?")
        server, _, database = head.rpartition("/")
        try:
            psycopg2.connect(url, connect_timeout=20).close()
            continue
        except psycopg2.OperationalError as error:
            if "does not exist" not in str(error):
                raise SystemExit(f"the server of {name} refuses: {str(error).strip().splitlines()[-1]}") from error
        connection = psycopg2.connect(f"{server}/postgres{'?' + options if options else ''}", connect_timeout=20)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        connection.close()
        print(f"database {database} is created")


def migrate(environment: Mapping[str, str]) -> int:
    """Databases, Dagster's tables, the ledger's tables: once before a new version is started."""
    create_databases(environment)
    for command in (["dagster", "instance", "migrate"], ["trading-assets", "ledger", "upgrade"]):
        done = subprocess.run(command, env=dict(environment), check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


def main(arguments: list[str]) -> int:
    """Become what the arguments name."""
    environment = dict(os.environ)
    role, rest = (arguments[0], arguments[1:]) if arguments else ("roles", [])
    if role == "roles":
        print("\n".join(f"{name:9} {' '.join(command)}" for name, command in commands(environment).items()))
        print("migrate   databases, dagster instance migrate, trading-assets ledger upgrade")
        return 0
    read_secrets(environment)
    compose_urls(environment)
    if role in KEYLESS:
        for name in KEYS:
            environment.pop(name, None)
    copy_machine_code(environment)
    if role in commands(environment) or role == "migrate" or environment.get("DAGSTER_POSTGRES_URL"):
        make_dagster_home(environment)
    if role == "migrate":
        return migrate(environment)
    command = [*commands(environment)[role], *rest] if role in commands(environment) else arguments
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        print(f"found the command {command[0]!r}, expected a role or a program: role.py roles", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
