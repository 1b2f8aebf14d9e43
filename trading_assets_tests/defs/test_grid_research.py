"""Grids in the hour's research: off they leave nothing; on they are ranked and selected beside the strategies."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.schemas import GRID_RESULTS, GRID_SELECTIONS, STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions, replace_partitions
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.trading.grid import selected
from trading_assets.trading.grid.declared import DECLARED
from trading_assets.trading.grid.shapes import GridShape
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, ResearchedHour, definitions

pytestmark = pytest.mark.slow

LOOSE = {
    **{"MIN_WIN_RATE": "0", "MIN_PROFIT_FACTOR": "0", "MIN_TRADES": "1", "MIN_PNL": "-1000"},
    **{"MAX_SELECTION_AGE_S": "100000", "MAX_SYMBOL_EXPOSURE_PCT": "1000", "MAX_TOTAL_EXPOSURE_PCT": "1000"},
}
GRIDS = [dg.AssetKey("grid_results"), dg.AssetKey("grid_selections")]


@pytest.fixture
def home(
    researched_hour: ResearchedHour, small: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of a researched home, whose exchange is up."""
    copy = tmp_path / "copied"
    shutil.copytree(researched_hour.home, copy)
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(copy))
    for name, value in LOOSE.items():
        monkeypatch.setenv(f"TRADING_ASSETS_{name}", value)
    return copy


def materialise() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        definitions().resolve_job_def("research").execute_in_process(
            instance=instance, partition_key=HOUR_KEY, asset_selection=GRIDS, raise_on_error=True
        )


def held(table: object) -> pd.DataFrame:
    with closing(Database(load_settings().resolved_database_url)) as database:
        return read_partitions(database, table, [HOUR])  # type: ignore[arg-type]


def test_where_nobody_asks_for_grids_none_is_tried(home: Path) -> None:
    materialise()
    assert held(GRID_RESULTS).empty and held(GRID_SELECTIONS).empty
    told = CliRunner().invoke(cli, ["grid", "start", "--from-selection", "--capital", "500", "--yes"])
    assert told.exit_code == 1 and "grid_research is off" in str(told.exception or told.stderr), told.output


def test_a_grid_is_selected_beside_the_strategies_and_started_with_its_evidence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(STRATEGY_SELECTIONS)
    monkeypatch.setenv("TRADING_ASSETS_GRID_RESEARCH", "true")
    materialise()
    results, chosen = held(GRID_RESULTS), held(GRID_SELECTIONS)
    GRID_RESULTS.model.validate(results, lazy=True)
    GRID_SELECTIONS.model.validate(chosen, lazy=True)
    assert len(results) == 3 and (results["configurations"] == len(DECLARED)).all()
    assert len(chosen) and results["settings_version"].notna().all()
    with closing(Database(load_settings().resolved_database_url)) as database:
        followed = newest_selection(database)
        assert followed is not None and not (followed.rows["strategy"] == "grid").any()
    pd.testing.assert_frame_equal(held(STRATEGY_SELECTIONS), before)

    shown = json.loads(CliRunner().invoke(cli, ["grid", "selections", "--json"]).stdout.strip().splitlines()[-1])
    best = shown[0]
    twice = "grid start --from-selection --kind long --capital 600 --yes"
    refused = CliRunner().invoke(cli, twice.split())
    assert refused.exit_code == 2 and "its own kind" in refused.stderr
    command = "grid start --from-selection --capital 600 --leverage 2 --yes"
    started = CliRunner().invoke(cli, command.split())
    assert started.exit_code == 0, (started.output, started.exception)
    with closing(Database(load_settings().resolved_database_url)) as database:
        (grid,) = grids.living(database, "main")
        shape = GridShape.from_json(best["parameters"])
        assert (grid.symbol, grid.kind, grid.levels) == (best["symbol"], shape.kind.value, shape.levels)
        assert grid.evidence is not None and json.loads(grid.evidence)["hour_ms"] == HOUR
        replace_partitions(database, GRID_SELECTIONS, GRID_SELECTIONS.empty(), [HOUR])
        assert selected.newest(database).empty
    status = CliRunner().invoke(cli, ["grid", "status"])
    assert f"started from the selection of {HOUR_KEY}" in status.stdout, status.output
    stopped = CliRunner().invoke(cli, ["grid", "stop", grid.symbol, "--yes"])
    assert stopped.exit_code == 0, stopped.output
