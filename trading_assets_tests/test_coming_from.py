"""The pages for those who come from another library: the code of both sides as printed gives the same trades."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
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


FREQTRADE = os.environ.get("TEST_FREQTRADE")
"""The program `freqtrade` of another environment: its dependencies are not ours."""


@pytest.mark.slow
@pytest.mark.skipif(not FREQTRADE, reason="no part of the project: TEST_FREQTRADE=path of the program freqtrade")
def test_the_breakout_of_freqtrade_has_the_same_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "docs/howto/from_freqtrade.md"
    mine = run(page, "ours")["ours"].trades
    monkeypatch.chdir(tmp_path)
    closes = run(page, "prepare")["frame"].index + pd.Timedelta("15min")
    Path("TheirBreakout.py").write_text(example(page, "freqtrade"))
    until = int(closes[-1].timestamp() * 1_000)
    with serve_in_thread(ServeConfig(symbols=30, clock=ClockSpec(ClockMode.MANUAL, until))) as exchange:
        configuration = Path("config.json").read_text()
        assert configuration.count("http://127.0.0.1:8765") == 5
        Path("config.json").write_text(configuration.replace("http://127.0.0.1:8765", exchange.url))
        program, *arguments = shlex.split(example(page, "run", "bash").replace("\\\n", " "))
        assert program == "freqtrade"
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}
        done = subprocess.run(
            [str(FREQTRADE), *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    (archive,) = Path("user_data/backtest_results").glob("*.zip")
    with zipfile.ZipFile(archive) as files:
        (name,) = [one for one in files.namelist() if one == f"{archive.stem}.json"]
        theirs = pd.DataFrame(json.loads(files.read(name))["strategy"]["TheirBreakout"]["trades"])
    assert len(mine) == len(theirs) == 39
    assert pd.to_datetime(theirs["open_date"]).tolist() == mine["entry_time"].tolist()
    assert (pd.to_datetime(theirs["close_date"]) + pd.Timedelta("15min")).tolist() == mine["exit_time"].tolist()
    assert np.where(theirs["is_short"], "SHORT", "LONG").tolist() == mine["side"].tolist()
    assert theirs["exit_reason"].map({"roi": "target", "stop_loss": "stop"}).tolist() == mine["reason"].tolist()
    np.testing.assert_allclose(theirs["open_rate"], mine["entry_price"], rtol=1e-9)
    np.testing.assert_allclose(theirs["close_rate"], mine["exit_price"], atol=0.01, rtol=0)
