"""The page of one strategy: groups of its trades, what its backtests had said, and what is too few to tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger.database import Database
from trading_assets.reporting.build import strategy_page
from trading_assets.reporting.strategy_page import (
    chosen_parameters,
    grouped,
    render,
    said_and_done,
    with_parts_of_time,
)
from trading_assets_tests.reporting.fixtures import HOUR
from trading_assets_tests.reporting.test_build import fill, sources


def trades(count: int = 8) -> pd.DataFrame:
    """Every second trade wins 2 R, the others lose 1 R; the last one is open."""
    at = np.arange(count)
    return pd.DataFrame(
        {
            "entry_ms": HOUR + at * HOUR_MS,
            "hour_ms": HOUR + at * HOUR_MS,
            "symbol": np.where(at % 2, "AUSDT", "BUSDT"),
            "timeframe": "5m",
            "side": "LONG",
            "parameters": [json.dumps({"band": 0.7 if one % 4 < 2 else 0.9, "fixed": 1}) for one in at],
            "r": np.where(at % 2, 2.0, -1.0),
            "pnl": np.where(at % 2, 4.0, -2.0),
            "reason": [*["stop"] * (count - 1), "open"],
        }
    )


def selected(count: int = 8) -> pd.DataFrame:
    frame = trades(count)[["hour_ms", "symbol", "timeframe"]]
    return frame.assign(mean_r=np.linspace(0.1, 0.8, count))


def test_groups_count_closed_trades_alone() -> None:
    rows = grouped(with_parts_of_time(trades()), "symbol").set_index("symbol")
    assert rows.loc["AUSDT"].tolist() == [3, 100.0, 2.0, 12.0] and rows.loc["BUSDT"].tolist() == [4, 0.0, -1.0, -8.0]
    hours = grouped(with_parts_of_time(trades()), "hour")
    assert hours["hour"].tolist() == [f"{1 + at:02d}" for at in range(7)]
    by_parameter = chosen_parameters(trades())
    assert by_parameter["parameter"].unique().tolist() == ["band"] and by_parameter["trades"].sum() == 7


def test_what_backtests_said_stands_beside_what_came_of_the_same_selections() -> None:
    found = said_and_done(selected(), trades())
    assert found["selections"].tolist() == [2, 2, 2, 2] and found["trades"].tolist() == [2, 2, 2, 1]
    assert found["said_r"].is_monotonic_increasing
    assert found["done_r"].tolist() == [0.5, 0.5, 0.5, -1.0]
    assert said_and_done(selected().assign(mean_r=np.nan), trades()).empty


@pytest.mark.slow
def test_few_trades_are_called_too_few_and_names_are_no_code() -> None:
    page = render("<b>x", trades(), selected(), HOUR, HOUR + HOUR_MS)
    assert "too few to say anything" in page and "<b>x" not in page and "&lt;b&gt;x" in page
    assert 'class="few"' in page and 'class="gain"' not in page
    many = render("x", trades(80), selected(80), HOUR, HOUR + HOUR_MS)
    assert "too few" not in many and 'class="gain"' in many


@pytest.mark.slow
def test_the_page_of_a_home_has_the_strategys_part_of_the_walk_forward(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite)
    of = sources(sqlite, tmp_path, report_random_choices=1)
    page = strategy_page(of, "bollinger_rsi").read_text()
    assert "By timeframe" in page and "By coin" in page and "hyperrsi" not in page
    with pytest.raises(DataError, match="'nothing' was not selected in these 12 hours; selected were bollinger_rsi"):
        strategy_page(of, "nothing")
