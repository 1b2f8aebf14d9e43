"""The comparison of a grid with the exchange: silent where they agree, and it names what does not."""

from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.grid_invariants import compare_grid, traded_with_itself
from trading_assets.core.models import OrderChange, OrderRequest, Side
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import fills, grid_levels, grid_orders
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.grid.stage import SYMBOL, Stage, stage_on

D = Decimal


def _write(statement: sa.Executable) -> Callable[[Stage], None]:
    def change(stage: Stage) -> None:
        with stage.database.write() as connection:
            for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            assert connection.execute(statement).rowcount > 0  # type: ignore[attr-defined]

    return change


def _second_order(stage: Stage) -> None:
    link = next(row.order_link_id for row in stage.accounts().orders if row.level_index == 0)
    twin = stage.exchange.order_ids.encode("a twin", "go")
    stage.exchange.place_order(OrderRequest(SYMBOL, Side.BUY, D("0.002"), twin, price=D(95_000)))
    with stage.database.write() as connection:
        row = next(one for one in grids.orders_of(connection, stage.grid().grid_id) if one.order_link_id == link)
        values = {column.name: getattr(row, column.name) for column in grid_orders.columns if hasattr(row, column.name)}
        connection.execute(sa.insert(grid_orders).values(**values | {"order_link_id": twin, "round": 9}))


def _stranger(stage: Stage) -> None:
    link = stage.exchange.order_ids.encode("nobody's", "go")
    stage.exchange.place_order(OrderRequest(SYMBOL, Side.BUY, D("0.002"), link, price=D(94_000)))


def _beyond(stage: Stage) -> None:
    link = next(row.order_link_id for row in stage.exchange.open_orders(SYMBOL) if row.price == D(95_000))
    stage.exchange.amend_order(OrderChange(SYMBOL, link, price=D(90_000)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "law", "says"),
    [
        (_second_order, "grid_duplicates", "level 0 has 2 orders"),
        (_stranger, "orphans", "the ledger has None"),
        (_beyond, "beyond_bounds", "waits at 90000"),
        (lambda stage: stage.exchange.set_stops(SYMBOL, D(92_000), None), "unprotected", "has the stop 92000"),
        (_write(sa.update(grid_orders).values(status=grids.DONE)), "orphans", "the ledger has ended"),
        (_write(sa.delete(fills)), "grid_inventory", "the books have 0"),
        (_write(sa.update(fills).values(qty=D("0.001"))), "grid_inventory", "the books have"),
        (_write(sa.update(fills).values(fee=D(5))), "grid_profit", "money changed by"),
        (_write(sa.update(grid_levels).values(qty=D("0.001"))), "grid_duplicates", "held 0.002, wished 0.001"),
    ],
)
def test_what_differs_is_named(sqlite: Database, change: Callable[[Stage], None], law: str, says: str) -> None:
    with stage_on(sqlite, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1.5, steps=6)
        found = Findings()
        compare_grid(found, sqlite, stage.exchange, stage.grid())
        assert found.broken == []
        change(stage)
        compare_grid(found, sqlite, stage.exchange, stage.grid())
        assert any(says in text for text in getattr(found, law)), found.broken


@pytest.mark.slow
def test_own_orders_that_traded_with_each_other_are_named(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.after(1, steps=2)
        rows = stage.exchange.executions(T0, stage.running.now_ms() + 1)
        assert traded_with_itself(rows) == []
