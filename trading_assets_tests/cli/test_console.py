"""Tables for people: empty ones say so, times are times, output without a terminal is not cut."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from trading_assets.cli import console
from trading_assets.cli.console import frame_table, open_console


def shown(rows: pd.DataFrame, columns: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    open_console().print(frame_table("Closings", rows, columns))
    return capsys.readouterr().out


def test_no_rows_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(pd.DataFrame({"pnl": []}), {"pnl": "PnL $"}, capsys) == "Closings: none\n"


def test_headings_times_and_missing_values_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame({"closed_ms": [1_772_413_200_000], "pnl": [1234.5678], "reason": [None], "hidden": ["no"]})
    out = shown(rows, {"closed_ms": "closed", "pnl": "PnL $", "reason": "why"}, capsys)
    assert "Closings (1)" in out
    assert "03-02 01:00" in out
    assert "1,234.57" in out
    assert "None" not in out
    assert "hidden" not in out


def test_a_pipe_gets_wide_tables_uncut(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame({f"column_{n}": ["x" * 14] for n in range(7)})
    assert shown(rows, {name: name for name in rows.columns}, capsys).count("x" * 14) == 7


CLI = Path(console.__file__).parent
OF_NO_OTHERS = {"console.py", "bench.py", "chaos.py"}
"""The one way to print itself; measurements and trials, which have only texts of their own."""
UNCHANGED = {"json.dumps", "ui_token", "settings_page.env_example", "encode", "rows.to_json"}
"""What makes a text that is fit to show, or that a program reads."""


def calls_of_click_echo(source: str) -> Iterator[ast.expr]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print", "click.secho"):
            yield node.args[0]


def test_text_is_printed_by_the_one_way_that_makes_it_fit_to_show() -> None:
    found = [
        f"{path.name}: {ast.unparse(text)}"
        for path in sorted(CLI.rglob("*.py"))
        if path.name not in OF_NO_OTHERS
        for text in calls_of_click_echo(path.read_text(encoding="utf-8"))
        if not any(ast.unparse(text).startswith(f"{name}(") for name in UNCHANGED)
    ]
    assert found == []


def test_no_command_has_markup_that_nobody_reads() -> None:
    found = [
        (path.name, number)
        for path in sorted(CLI.rglob("*.py"))
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\[/?(bold|italic|dim|red|green|yellow)\b[^\]]*\]|\[/\]", text)
    ]
    assert found == []
