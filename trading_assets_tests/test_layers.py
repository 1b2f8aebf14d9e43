"""The layers: the page that describes them, the contract in pyproject.toml, and the tool that checks it agree."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def contract(name: str) -> list[list[str]]:
    """The layers of a contract from the top down; packages of one layer in the order of the contract."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (contract["layers"] for contract in tool["contracts"] if contract["name"] == name)
    return [line.split(" | ") for line in layers]


def described(name: str) -> list[list[str]]:
    """The layers of a table of docs/layers.md from the bottom up."""
    page = (ROOT / "docs" / "layers.md").read_text()
    found = re.search(rf"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", page, re.S)
    assert found is not None
    cells = [row.split("|")[1] for row in found.group(1).splitlines()[2:]]
    return [re.findall(r"`(\w+)`", cell) for cell in cells]


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    """The linter on a checkout. It looks for the package in its working directory first."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contract, to be changed."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "trading_assets", tmp_path / "trading_assets", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["Layers", "Layers of trading"])
def test_the_page_describes_the_layers_of_the_contract_in_their_order(name: str) -> None:
    assert described(name.lower()) == contract(name)[::-1]


@pytest.mark.slow
def test_the_tree_is_clean_and_an_import_of_a_higher_layer_or_of_dagster_is_refused(copy: Path) -> None:
    clean = lint_imports(copy)
    assert clean.returncode == 0, clean.stdout
    bad = "import dagster\nfrom trading_assets.trading.session import session\n"
    (copy / "trading_assets/market/shortcut.py").write_text(bad)
    (copy / "trading_assets/trading/saga/shortcut.py").write_text("import trading_assets.trading.execute.submit\n")
    broken = lint_imports(copy)
    assert broken.returncode == 1
    assert "trading_assets.market.shortcut -> trading_assets.trading.session.session" in broken.stdout
    assert "trading_assets.market.shortcut -> dagster" in broken.stdout
    assert "trading_assets.trading.saga.shortcut -> trading_assets.trading.execute.submit" in broken.stdout
