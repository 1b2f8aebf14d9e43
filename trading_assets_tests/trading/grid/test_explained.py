"""An order of a grid explained, and who is told that a grid needs a person."""

from __future__ import annotations

import pytest

from trading_assets.cli.doctor.ledger import check_grids
from trading_assets.core.errors import DataError
from trading_assets.core.models import Side
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.trading.explain import Links, explain, markdown, plain
from trading_assets_tests.trading.fixtures import settings
from trading_assets_tests.trading.grid.stage import SYMBOL, stage_on

LINKS = Links("http://127.0.0.1:3000")


@pytest.mark.slow
def test_an_order_of_a_grid_is_explained_by_its_fills_its_level_and_its_grid(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        filled = next(one for one in stage.accounts().orders if one.purpose == grids.OPEN and one.filled_qty)
        found = explain(sqlite, filled.order_link_id, LINKS, "BTCUSDT")
        told = {step.what: step.found for step in found.steps}
        assert "open Buy of the neutral grid in BTCUSDT" in found.title
        assert told["order"] == "ended, 0.002 of 0.002 filled: filled"
        assert f"0.002 at {filled.price}" in told["fill"]
        assert "Buy first" in told[f"level {filled.level_index}"]
        assert "close Sell 0.002" in told["after it"]
        assert "running, generation 1" in told[f"grid {filled.grid_id}"]
        assert filled.order_id is not None
        assert explain(sqlite, filled.order_id, LINKS, "BTCUSDT") == found
        assert plain(found)["steps"][0]["values"]["qty"] == "0.002"
        assert "neutral grid" in markdown(found)
        with pytest.raises(DataError, match="several orders of grids"):
            explain(sqlite, filled.order_link_id[:2], LINKS, "BTCUSDT")


def test_a_grid_that_needs_a_person_is_told_with_what_goes_on(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_assets.cli.doctor.ledger.opened", lambda _settings: sqlite)
    monkeypatch.setattr(Database, "close", lambda _self: None)
    assert "nothing starts one by itself" in check_grids(settings())
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        assert (check_grids(settings()), grids.needing_a_person(sqlite, "main")) == ("BTCUSDT is running", [])
        buy = next(row for row in stage.exchange.open_orders(SYMBOL) if row.side is Side.BUY and row.price)
        stage.exchange.cancel_orders([(SYMBOL, buy.order_link_id)])
        stage.maintain()
        (need,) = grids.needing_a_person(sqlite, "main")
        assert "cancelled by somebody else" in need.why
        assert need.command == "trading-assets grid resume BTCUSDT"
        assert need.command in check_grids(settings())
