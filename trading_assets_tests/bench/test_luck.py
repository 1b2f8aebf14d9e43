"""The tests against luck keep their level in every world, and the page says what they do."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from trading_assets.backtesting.significance import SIGNIFICANT
from trading_assets.bench.luck import DRAWS, Cell, luck, table
from trading_assets.cli.console import open_console

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
_DRAWS = 600
ROUGH = 0.08
"""The level that the deflated Sharpe ratio of a single record of few trades keeps; the page says so."""


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return luck(_DRAWS, seed=7)


def _error(draws: int) -> float:
    return 3 * math.sqrt(SIGNIFICANT * (1 - SIGNIFICANT) / draws)


@pytest.mark.slow
def test_where_there_is_no_edge_no_more_is_found_than_the_level_says(cells: list[Cell]) -> None:
    without = [cell for cell in cells if not cell.edge]
    assert len(without) > 20
    found = [(cell, ROUGH if cell.test.endswith("best of 1") else SIGNIFICANT) for cell in without]
    assert {cell.test: cell.share for cell, level in found if cell.share > level + _error(_DRAWS)} == {}
    few = [cell for cell in without if cell.test.endswith("20 trades, best of 60") and cell.world == "0.25 : 1"]
    assert [cell.share for cell in few] == [0.0], "a record of wins alone is no discovery among so many"


@pytest.mark.slow
def test_an_edge_is_found_and_more_trades_find_more(cells: list[Cell]) -> None:
    found = {(cell.test, cell.world, cell.edge): cell.share for cell in cells if cell.edge}
    shares = [found[f"p-value, {count} trades", "2 : 1", 0.6] for count in (5, 10, 20, 50)]
    assert shares == sorted(shares) and shares[-1] > 0.75
    assert found["deflated Sharpe", "the same, costs of 0 to 4", 4.0] > 0.7
    assert found["corrected p-value of the best", "the same, costs of 0 to 4", 3.0] > 0.6


@pytest.mark.slow
def test_the_page_has_the_figures(cells: list[Cell]) -> None:
    shown = [float(one) / 100 for one in re.findall(r"(?<=\| )\d+\.\d(?= \|)", PAGE.read_text(encoding="utf-8"))]
    assert len(shown) == len(cells)
    for cell, share in zip(cells, shown, strict=True):
        spread = math.sqrt(max(cell.share * (1 - cell.share), 0.01) * (1 / _DRAWS + 1 / DRAWS))
        assert share == pytest.approx(cell.share, abs=4 * spread), cell


def test_a_table_has_a_line_for_each(cells: list[Cell]) -> None:
    assert table(cells, _DRAWS).row_count == len(cells)
    open_console().print(table(cells, _DRAWS))
