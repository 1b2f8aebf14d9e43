"""What `make setup` installs is pinned by hash, extras and installers included, and `make sbom` lists all of it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-build.lock")


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package of a lock."""
    text = (ROOT / name).read_text()
    found = {}
    for block in re.split(r"\n(?=\S)", text):
        line = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^\s;]+)", block)
        if line is not None:
            found[line[1].lower().replace("_", "-")] = (line[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}", block)))
    return found


def test_every_package_of_both_locks_has_a_hash() -> None:
    for name in LOCKS:
        found = pins(name)
        assert found and all(hashes for _, hashes in found.values()), name
    assert {"uv", "setuptools"} <= pins(LOCKS[1]).keys()


def test_every_extra_is_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in wanted} - {"trading-assets"}
    assert names <= pins(LOCKS[0]).keys()


def test_setup_installs_nothing_without_its_hash_and_builds_with_what_is_locked() -> None:
    recipe = (ROOT / "Makefile").read_text().split("$(STAMP): ")[1].split("\n\n")[0]
    lines = [line for line in recipe.splitlines() if "pip install" in line]
    assert len(lines) == 3
    for line in lines:
        assert "--require-hashes" in line or ("--no-deps" in line and "--no-build-isolation" in line), line


VENDORED = {"lightweight-charts.js": "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf"}
"""What the package holds of other projects, with its SHA-256: a change is a new version, and is looked at."""


def test_what_the_package_holds_of_others_is_what_was_looked_at() -> None:
    static = ROOT / "trading_assets" / "reporting" / "static"
    others = {path.name for path in static.glob("*.js")} - {"trade_chart.js"}
    assert others == VENDORED.keys()
    assert {name: hashlib.sha256((static / name).read_bytes()).hexdigest() for name in others} == VENDORED
    assert not list(ROOT.glob("trading_assets/**/*.min.*"))


def test_the_list_of_components_has_it_too(tmp_path: Path) -> None:
    bill = tmp_path / "sbom.json"
    bill.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "numpy"}]}))
    subprocess.run([sys.executable, str(ROOT / "deploy" / "add_vendored.py"), str(bill)], check=True, timeout=60)
    one, added = json.loads(bill.read_text())["components"]
    assert one == {"name": "numpy"} and added["purl"] == "pkg:npm/lightweight-charts@5.2.1"
    assert added["hashes"] == [{"alg": "SHA-256", "content": VENDORED["lightweight-charts.js"]}]
    assert "deploy/add_vendored.py sbom.json" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
def test_the_list_of_components_has_all_of_both_locks() -> None:
    locks = "".join((ROOT / name).read_text() for name in LOCKS)
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-format", "JSON", "-"]
    made = subprocess.run(command, input=locks, capture_output=True, text=True, check=True, timeout=300)
    listed = json.loads(made.stdout)
    assert listed["bomFormat"] == "CycloneDX"
    found = {one["name"].lower().replace("_", "-"): one["version"] for one in listed["components"]}
    assert found == {name: version for lock in LOCKS for name, (version, _) in pins(lock).items()}
