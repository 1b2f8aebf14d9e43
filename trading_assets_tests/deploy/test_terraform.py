"""deploy/terraform: what can be held without Terraform, and its own checks where it and the provider are there."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from trading_assets.core.objects import S3Objects, open_objects
from trading_assets.core.settings import Settings
from trading_assets.mirror.dynamodb import KEYS, MirrorTable
from trading_assets_tests.deploy.surroundings import DEPLOY, module, tool

FOLDER = DEPLOY / "terraform"
MODULES = sorted(one.name for one in (FOLDER / "modules").iterdir())


def text(*names: str) -> str:
    return "\n".join((FOLDER / name).read_text() for name in names)


def test_every_module_is_used_and_every_variable_of_it_is_given() -> None:
    main = text("main.tf")
    for name in MODULES:
        block = re.search(rf'^module "{name}" {{\n(.*?)^}}', main, re.MULTILINE | re.DOTALL)
        assert block is not None, name
        given = set(re.findall(r"^  (\w+) +=", block[1], re.MULTILINE)) - {"source", "count"}
        wanted = set(re.findall(r'^variable "(\w+)"', text(f"modules/{name}/variables.tf"), re.MULTILINE))
        assert given == wanted, name


def test_services_are_roles_of_the_image() -> None:
    roles = set(re.findall(r"^ +(\w+) += \{ cpu", text("variants.tf"), re.MULTILINE))
    assert roles == set(module("role").commands({})) - {"exchange"}


def test_every_setting_that_is_named_exists() -> None:
    known = {f"TRADING_ASSETS_{name}".upper() for name in Settings.model_fields}
    named = set(re.findall(r"\bTRADING_ASSETS_[A-Z_0-9]+", text("main.tf", "modules/ecs/main.tf")))
    assert named and named <= known


def test_secrets_that_tasks_get_are_made() -> None:
    made = set(re.findall(r"^    ([a-z-]+) +=", text("modules/secrets/main.tf"), re.MULTILINE))
    assert set(re.findall(r'module\.secrets\.arns\["([a-z-]+)"\]', text("main.tf"))) <= made
    assert len(made) == 8


def test_no_plan_reads_the_value_of_a_secret() -> None:
    """The provider reads a value back that it has put in, and the role of plans is denied every value."""
    every = "\n".join(one.read_text() for one in FOLDER.rglob("*.tf"))
    named = set(re.findall(r'^(?:resource|data|ephemeral) "(aws_(?:secretsmanager|ssm)_\w+)"', every, re.MULTILINE))
    assert named == {"aws_secretsmanager_secret"}


def test_the_tables_are_those_of_the_mirror() -> None:
    made = text("modules/dynamodb/main.tf")
    for table in MirrorTable:
        block = made.split(f"    {table} = {{")[1].split("    }\n")[0]
        keys = re.search(r'hash += "(\w+)".*?range += "(\w+)"', block, re.DOTALL)
        assert keys is not None and keys.groups() == KEYS[table], table
    for index in ("TimeframeIndex", "StatusIndex", "ConfidenceIndex"):
        assert index in made


def test_the_url_of_the_store_is_one_that_the_program_takes() -> None:
    """The rules hold that tasks are told this one."""
    (url,) = set(re.findall(r'"(s3://[^"]+)"', text("tests/rules.tftest.hcl")))
    objects = open_objects(Settings(store_url=url), "candles")
    assert isinstance(objects, S3Objects) and objects.url() == f"{url}/candles"


def test_no_state_and_no_values_are_in_the_repository() -> None:
    done = subprocess.run(["git", "ls-files", str(FOLDER)], capture_output=True, text=True, check=False, cwd=FOLDER)
    assert not re.findall(r"\S+(?:\.tfstate\S*|terraform\.tfvars|\.tfplan)$", done.stdout, re.MULTILINE)


def test_every_check_that_is_skipped_has_its_reason() -> None:
    lines = (FOLDER / ".checkov.yaml").read_text().splitlines()
    skipped = [index for index, line in enumerate(lines) if line.strip().startswith("- CKV")]
    assert skipped and all(lines[index - 1].strip().startswith("# ") for index in skipped)


@pytest.mark.slow
def test_it_is_valid_and_its_rules_hold_in_each_variant() -> None:
    tool("terraform", "needs Terraform 1.10 or newer and the AWS provider")
    if os.environ.get("TEST_TERRAFORM") != "1":
        pytest.skip("a minute of CPU: TEST_TERRAFORM=1, or make terraform-check, which CI runs apart")
    done = subprocess.run([str(FOLDER / "check.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert all(f"{variant}: Plan:" in done.stdout for variant in ("dev", "default", "ha"))
