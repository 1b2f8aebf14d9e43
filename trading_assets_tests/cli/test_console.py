"""Tables for people: empty ones say so, times are times, output without a terminal is not cut."""

from __future__ import annotations

import pandas as pd
import pytest

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
