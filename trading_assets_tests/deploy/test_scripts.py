"""deploy/scripts: each says what it would do and does nothing in a dry run; what it sends is what AWS knows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from trading_assets_tests.deploy.surroundings import DEPLOY, tool

FOLDER = DEPLOY / "scripts"
IMAGE = f"repository@sha256:{'0' * 64}"
ARGUMENTS = {
    "build-and-push.sh": [], "migrate.sh": [IMAGE], "update-services.sh": [IMAGE],
    "health-check.sh": ["https://desk.example"], "rollback.sh": [], "deploy-all.sh": [],
    "assume-role.sh": ["arn:aws:iam::123456789012:role/x"], "scan-result.sh": [IMAGE],
}  # fmt: skip
ORDER = ["code", "daemon", "web", "serve", "research", "trading"]


def run(name: str, *arguments: str, path: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
        "AWS_ACCOUNT_ID": "123456789012", "HOME": os.environ.get("HOME", "/"), **more,
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(FOLDER / name), *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def aws(tmp_path: Path) -> Path:
    """A folder with programs in place of the real ones: they write down what is asked, and answer as AWS would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "curl"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n')
    (folder / "aws").write_text(
        """#!/bin/bash
echo "aws $*" >> "$CALLS"
updated() { grep -q "update-service .*$1" "$CALLS"; }
definition='{"family": "f", "revision": 1, "containerDefinitions": [{"name": "x", "image": "old"}]}'
case "$*" in
  *"describe-services"*)
    if [ -n "$TAKEN_BACK" ] && updated "--service $TAKEN_BACK "; then echo old:1
    elif updated ""; then echo new:2
    else echo old:1; fi ;;
  *"describe-task-definition"*) echo "$definition" ;;
  *"register-task-definition"*) all="$*"; file="${all#*file://}"; cp "${file%% *}" "$CALLS.json"; echo new:2 ;;
esac
"""
    )
    for one in folder.iterdir():
        one.chmod(0o755)
    return folder


def updated(calls: Path) -> list[str]:
    """Services whose revision was changed, in order."""
    lines = calls.read_text().splitlines()
    return [line.split("--service ")[1].split()[0] for line in lines if "update-service " in line]


def test_every_script_is_here_and_can_be_run() -> None:
    assert {one.name for one in FOLDER.glob("*.sh")} == {*ARGUMENTS, "common.sh"}
    assert all(os.access(FOLDER / name, os.X_OK) for name in ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_dry_run_calls_no_program_and_says_what_it_would_do(name: str, aws: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    (tmp_path / "1.tsv").write_text("web\told:1\tnew:2\n")
    done = run(name, *ARGUMENTS[name], "--dry-run", path=str(aws), CALLS=str(calls), RELEASES=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "would run: " in done.stdout
    assert not calls.exists()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_help_is_the_head_of_the_script_and_an_unknown_option_is_refused(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0 and name in done.stdout
    done = run(name, "--force")
    assert done.returncode == 2 and "unknown option --force" in done.stderr


def test_an_image_by_tag_is_refused() -> None:
    for name in ("update-services.sh", "migrate.sh"):
        done = run(name, "repository:latest", "--dry-run")
        assert done.returncode == 2 and "by digest" in done.stderr


@pytest.mark.slow
def test_services_are_updated_in_their_order_and_the_way_back_is_kept(aws: Path, tmp_path: Path) -> None:
    tool("jq", "apt-get install jq")
    calls, releases = tmp_path / "calls", tmp_path / "releases"
    done = run("update-services.sh", IMAGE, path=str(aws), CALLS=str(calls), RELEASES=str(releases), TAKEN_BACK="")
    # The stand-in answers new:2 from the first update on, so every service "was" at new:2 but the first.
    assert done.returncode == 0, done.stderr
    assert updated(calls) == ORDER
    registered = Path(f"{calls}.json").read_text()
    assert f'"image": "{IMAGE}"' in registered and "revision" not in registered
    record = next(releases.glob("*.tsv"))
    assert record.read_text().splitlines()[0] == "code\told:1\tnew:2"
    calls.unlink()
    done = run("rollback.sh", str(record), path=str(aws), CALLS=str(calls))
    assert done.returncode == 0, done.stderr
    assert updated(calls) == ORDER[::-1]


def test_a_service_that_was_taken_back_ends_the_release(aws: Path, tmp_path: Path) -> None:
    tool("jq", "apt-get install jq")
    calls, releases = tmp_path / "calls", tmp_path / "releases"
    done = run("update-services.sh", IMAGE, path=str(aws), CALLS=str(calls), RELEASES=str(releases), TAKEN_BACK="code")
    assert done.returncode == 1 and "code was taken back" in done.stderr
    assert "--service daemon" not in calls.read_text()
