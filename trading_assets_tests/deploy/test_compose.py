"""compose.yaml is what the specification allows, starts in order, and gives no container more than it needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trading_assets.core.settings import Settings
from trading_assets_tests.deploy.surroundings import DEPLOY, ROOT, compose, module, tool

FOLDER = DEPLOY / "compose"
OURS = ("migrate", "code", "web", "daemon", "research", "trading", "serve", "exchange", "tools")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


@pytest.mark.slow
def test_it_is_what_the_specification_allows() -> None:
    path = tool("check-jsonschema", "make setup")
    file = FOLDER / "compose.yaml"
    done = subprocess.run(
        [path, "--builtin-schema", "vendor.compose-spec", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_is_not_root_and_writes_only_where_it_is_let(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True and service["user"] == "10001:10001" and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and service["tmpfs"] == ["/tmp:mode=1777"]
    assert not service.get("privileged")


def test_each_container_of_ours_is_a_role_of_the_image() -> None:
    roles = {*module("role").commands({}), "migrate"}
    assert {services()[name]["command"][0] for name in OURS if name != "tools"} == roles


@pytest.mark.parametrize("name", [name for name in OURS if name not in ("migrate", "tools")])
def test_each_role_is_asked_by_its_own_check_and_has_limits(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"] == ["CMD", "python3", "/opt/trading_assets/health.py", name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_nothing_is_started_before_the_tables_are_there() -> None:
    for name in ("code", "web", "daemon", "research", "trading", "serve"):
        assert services()[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name
    assert services()["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    for name in ("web", "daemon"):
        assert services()[name]["depends_on"]["code"] == {"condition": "service_healthy"}


def test_keys_are_given_to_those_who_trade_alone() -> None:
    keyed = {name for name in OURS if "bybit_api_secret" in _sources(services()[name])}
    assert keyed == {"code", "trading", "serve", "tools"}


def _sources(service: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])}


def test_no_password_is_in_the_file_and_every_secret_file_is_one_that_the_image_reads() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    assert not re.search(r"(?i)(password|secret|token)\s*:\s*[a-z0-9]{8,}", text)
    for name in OURS:
        service = services()[name]
        for variable, path in service.get("environment", {}).items():
            if variable.endswith("_FILE") and variable != "POSTGRES_PASSWORD_FILE":
                assert variable.removesuffix("_FILE") in module("role").SECRETS, variable
                assert path.removeprefix("/run/secrets/") in _sources(service), f"{name}: {path}"


def test_only_this_machine_reaches_a_port() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    assert compose()["networks"]["inside"] == {"internal": True}
    assert services()["postgres"]["networks"] == services()["rabbitmq"]["networks"] == ["inside"]


def test_every_setting_that_is_named_exists() -> None:
    known = {f"TRADING_ASSETS_{name}".upper() for name in Settings.model_fields}
    ours = {"TRADING_ASSETS_BROKER_URL", "TRADING_ASSETS_IMAGE", "BROKER_NAMESPACE"}
    for name in OURS:
        environment = services()[name].get("environment", {})
        named = {one.removesuffix("_FILE") for one in environment if one.startswith("TRADING_ASSETS_")}
        assert named <= known | ours, named - known - ours


def test_every_secret_is_made_by_the_script_and_none_is_made_twice(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_text((FOLDER / "secrets.sh").read_text())
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    made = {one.name: one.read_text() for one in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(one["file"]).name for one in compose()["secrets"].values()}
    assert made["rabbitmq_conf"].splitlines()[1] == f"default_pass = {made['broker_password']}"
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    assert {one.name: one.read_text() for one in (tmp_path / "secrets").iterdir()} == made


def test_prometheus_asks_serve_with_the_token() -> None:
    content = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    job = content["scrape_configs"][0]
    port = services()["serve"]["environment"]["TRADING_ASSETS_MONITOR_PORT"]
    assert job["static_configs"][0]["targets"] == [f"serve:{port}"]
    assert job["authorization"]["credentials_file"] == "/run/secrets/monitor_token"
    assert _sources(services()["prometheus"]) == {"monitor_token"}


def test_backup_and_restore_name_each_others_files() -> None:
    backup, restore = ((FOLDER / f"{name}.sh").read_text() for name in ("backup", "restore"))
    for name in ("trading_assets.zip", "dagster.dump", "SHA256SUMS"):
        assert name in backup and name in restore


def test_every_image_of_others_can_be_pinned_by_its_digest(tmp_path: Path) -> None:
    """Those that are named by a tag alone are listed in docs/security.md."""
    tagged = {
        found[1]: found[2]
        for service in services().values()
        if (found := re.fullmatch(r"\$\{([A-Z_]+):-(.+/.+)\}", service["image"]))
    }
    dockerfile = (ROOT / "Dockerfile").read_text()
    base = re.search(r"^ARG BASE=(.+)$", dockerfile, re.M)
    assert base is not None and set(re.findall(r"^FROM (\S+)", dockerfile, re.M)) == {"${BASE}"}
    told = (ROOT / "docs" / "security.md").read_text()
    unpinned = [image for image in (*tagged.values(), base[1]) if "@sha256:" not in image]
    assert [
        image for image in unpinned if f"`{image.removeprefix('docker.io/').removeprefix('library/')}`" not in told
    ] == []

    digest = f"sha256:{'a' * 64}"
    skopeo = tmp_path / "skopeo"
    skopeo.write_text(f'#!/bin/sh\n[ "$5" = "" ] && case "$4" in docker://*:*) echo "${{DIGEST-{digest}}}" ;; esac\n')
    skopeo.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["sh", str(FOLDER / "pin_images.sh")]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    assert lines == [f"{name}={image}@{digest}" for name, image in tagged.items()]
    assert last == f"# make image BASE={base[1]}@{digest}"
    refused = subprocess.run(command, env={"PATH": path, "DIGEST": "none"}, capture_output=True, text=True, check=False)
    assert refused.returncode and not refused.stdout and "expected sha256:" in refused.stderr


def test_a_trial_without_the_image_says_how_to_make_it(tmp_path: Path) -> None:
    """The programs of compose would ask a registry for it, and say nothing of that."""
    for name in ("podman", "podman-compose"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(FOLDER / "try_it.py")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "found no image trading_assets:local: say `make image`" in done.stderr
    assert (tmp_path / "calls").read_text() == "podman image inspect trading_assets:local\n"
