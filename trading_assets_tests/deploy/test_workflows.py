"""Workflows: no action of others, no right that is not needed, and every script and target that they call exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from trading_assets_tests.deploy.surroundings import ROOT, tool

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


def test_there_are_three() -> None:
    assert [one.name for one in FILES] == ["ci.yml", "release.yml", "terraform-plan.yml"]


@pytest.mark.slow
def test_they_are_what_github_allows() -> None:
    words = [tool("check-jsonschema", "make setup"), "--builtin-schema", "vendor.github-workflows", *map(str, FILES)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_action_of_others_runs_and_every_right_is_named(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] == {}
    for name, job in jobs(file).items():
        assert job["permissions"], name
        assert job["timeout-minutes"] <= 120
        assert not [step for step in job["steps"] if "uses" in step], name
        writes = {right for right, kind in job["permissions"].items() if kind == "write"}
        assert writes <= {"id-token", "contents"} if file.name == "release.yml" else writes <= {"id-token"}
        if "id-token" in writes and file.name != "terraform-plan.yml":
            assert job["environment"], f"{name}: who approves is said by an environment"


def test_a_plan_has_the_identity_that_its_role_trusts() -> None:
    """GitHub names the event in the identity of a job only where the job names no environment."""
    workflow = yaml.safe_load((FOLDER / "terraform-plan.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert list(workflow[True]) == ["pull_request"]  # YAML 1.1 reads the key `on` as true
    assert "environment" not in job
    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]
    role = (ROOT / "deploy" / "terraform" / "modules" / "iam" / "plan.tf").read_text()
    assert re.findall(r'"repo:\$\{var\.github_repository\}:([^"]+)"', role) == ["pull_request"]


def test_a_plan_asks_for_the_state_that_its_role_may_read_and_for_no_lock() -> None:
    terraform = ROOT / "deploy" / "terraform"
    (key,) = re.findall(r'state += \{.*key = "([^"]+)" \}', (terraform / "main.tf").read_text())
    (job,) = jobs(FOLDER / "terraform-plan.yml").values()
    runs = "\n".join(step["run"] for step in job["steps"])
    assert f"-backend-config=key={key} " in runs
    assert f"-backend-config=key={key} " in (terraform / "bootstrap" / "main.tf").read_text()
    assert "terraform plan -input=false -lock=false " in runs


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_it_calls_exists(file: Path) -> None:
    text = file.read_text()
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= TARGETS
    for script in re.findall(r"deploy/scripts/[a-z-]+\.sh", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_that_others_write_is_part_of_a_command(file: Path) -> None:
    for job in jobs(file).values():
        assert not [step for step in job["steps"] if "${{" in step.get("run", "")]


def test_the_database_is_brought_forward_before_services_and_a_failure_is_taken_back() -> None:
    steps = jobs(FOLDER / "release.yml")["deploy"]["steps"]
    runs = "\n".join(step["run"] for step in steps)
    order = [runs.index(f"{name}.sh") for name in ("migrate", "update-services", "health-check", "rollback")]
    assert order == sorted(order)
    assert steps[-1]["if"] == "failure()"
    assert runs.index("sigstore verify") < order[0]


def test_dagster_plus_has_image_queue_environment_and_resources() -> None:
    location = yaml.safe_load((ROOT / "dagster_cloud.yaml").read_text())["locations"][0]
    assert location["build"]["registry"] and location["agent_queue"]
    context = location["container_context"]["ecs"]
    assert {"env_vars", "secrets", "server_resources", "run_resources"} <= context.keys()
    names = {one.split("=")[0] for one in context["env_vars"]} | {one["name"] for one in context["secrets"]}
    assert {"TRADING_ASSETS_DATABASE_URL", "TRADING_ASSETS_HOME"} <= names
