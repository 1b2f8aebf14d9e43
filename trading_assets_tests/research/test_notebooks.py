"""The notebooks of the documentation run from the first cell to the last, and the page's example with them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from trading_assets.core.timeframes import HOUR_MS, as_of_ms
from trading_assets.ledger.database import Database
from trading_assets.research import loading
from trading_assets_tests.printed_examples import example
from trading_assets_tests.reporting.fixtures import HOUR
from trading_assets_tests.research.homes import a_home

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))


def cells(text: str) -> list[str]:
    """The code cells of a notebook in percent format."""
    parts = re.split(r"^# %%(.*)$", text, flags=re.M)
    assert not parts[0].strip()
    return [body for kind, body in zip(parts[1::2], parts[2::2], strict=True) if "[markdown]" not in kind]


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, which a notebook shows."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)  # our own notebooks
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_the_first_cell_to_the_last(
    notebook: Path, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = a_home(sqlite, tmp_path / "home", 4, report_random_choices=2)
    monkeypatch.setattr("trading_assets.research.open_home", lambda *_given, **_named: home)
    names: dict[str, Any] = {"__name__": "notebook"}
    found = cells(notebook.read_text())
    assert len(found) >= 5
    shown = [run(cell, names) for cell in found]
    assert any(shown)
    loading._default_home.cache_clear()


def test_every_notebook_is_listed_on_the_page_of_research() -> None:
    page = (ROOT / "docs" / "howto" / "research.md").read_text()
    assert len(NOTEBOOKS) == 4
    assert all(f"../notebooks/{one.name}" in page for one in NOTEBOOKS)


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    run(example("docs/howto/research.md", "research"), names)
    assert len(names["candles"]) == 14 * 96 and (tmp_path / "eth.html").stat().st_size > 200_000
    assert names["bt"].metrics["total_trades"] > 5 and as_of_ms(HOUR) > HOUR_MS
