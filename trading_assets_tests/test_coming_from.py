"""The pages for those who come from another library: the code of both sides as printed gives the same trades."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trading_assets_tests.printed_examples import example


def run(page: str, name: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": f"{name}_example"}
    exec(compile(example(page, name), name, "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def ours() -> pd.DataFrame:
    """The trades of our side, which both pages share, with the costs of the first one."""
    trades: pd.DataFrame = run("docs/howto/from_vectorbt.md", "ours")["ours"].trades
    return trades


@pytest.mark.slow
def test_the_breakout_of_vectorbt_has_the_same_trades(ours: pd.DataFrame) -> None:
    scope = run("docs/howto/from_vectorbt.md", "vectorbt")
    theirs = scope["theirs"].exit_trades.records
    closes = scope["frame"].index + pd.Timedelta("15min")
    assert len(ours) == len(theirs) == 39
    assert closes[theirs["entry_idx"]].tolist() == ours["entry_time"].tolist()
    assert closes[theirs["exit_idx"]].tolist() == ours["exit_time"].tolist()
    assert np.where(theirs["direction"] == 0, "LONG", "SHORT").tolist() == ours["side"].tolist()
    for name in ("entry_price", "exit_price"):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-8)
    np.testing.assert_allclose(theirs["pnl"], ours["pnl"] + ours["funding"], atol=1e-6)
    assert (ours["funding"] != 0).any(), "which vectorbt does not know"


@pytest.mark.slow
def test_the_breakout_of_backtesting_py_has_the_same_trades() -> None:
    pytest.importorskip("backtesting", reason="no part of the project: pip install backtesting")
    page = "docs/howto/from_backtesting_py.md"
    mine, scope = run(page, "ours")["ours"].trades, run(page, "backtesting_py")
    theirs = scope["theirs"].sort_values("EntryBar", kind="stable")
    closes = scope["frame"].index + pd.Timedelta("15min")
    assert len(mine) == len(theirs) == 39
    assert closes[theirs["EntryBar"]].tolist() == mine["entry_time"].tolist()
    assert closes[theirs["ExitBar"]].tolist() == mine["exit_time"].tolist()
    assert np.where(theirs["Size"] > 0, "LONG", "SHORT").tolist() == mine["side"].tolist()
    for name, column in (("EntryPrice", "entry_price"), ("ExitPrice", "exit_price")):
        np.testing.assert_allclose(theirs[name], mine[column], rtol=1e-8)
