"""The comparison of a DCA plan with the exchange: silent where they agree, and it names what does not."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_assets.chaos.dca_invariants import compare_plan, left_of_ended
from trading_assets.chaos.findings import Findings
from trading_assets.core.models import OrderRequest, Side
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import dca_buys, dca_orders, dca_plans, fills
from trading_assets_tests.trading.dca.stage import A_PLAN, SYMBOL, Stage, stage_on

D = Decimal
PLAN = replace(A_PLAN, safety_orders=2, safety_step_pct=D(1))


def _write(statement: sa.Executable) -> Callable[[Stage], None]:
    def change(stage: Stage) -> None:
        with stage.database.write() as connection:
            for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            assert connection.execute(statement).rowcount > 0  # type: ignore[attr-defined]

    return change


def _stranger(stage: Stage) -> None:
    link = stage.exchange.order_ids.encode("nobody's", "ds")
    stage.exchange.place_order(OrderRequest(SYMBOL, Side.BUY, D("0.002"), link, price=D(94_000)))


def _second_order(stage: Stage) -> None:
    """Another order of the first step waits, which the ledger has as one of it."""
    (first, *_) = [row for row in stage.accounts().orders if row.step == 1]
    twin = stage.exchange.order_ids.encode("a twin", "ds")
    stage.exchange.place_order(OrderRequest(SYMBOL, Side.BUY, D("0.002"), twin, price=D(94_000)))
    with stage.database.write() as connection:
        dca.add_orders(connection, [replace(first, order_link_id=twin, attempt=9)])


FIRST = dca_buys.c.due_ms == sa.select(sa.func.min(dca_buys.c.due_ms)).scalar_subquery()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "law", "says"),
    [
        (_second_order, "dca_duplicates", "2 orders of step"),
        (_stranger, "orphans", "waits, and is not known"),
        (lambda stage: stage.exchange.set_stops(SYMBOL, D(80_000), None), "wrong_levels", "has the stop 80000"),
        (lambda stage: stage.exchange.set_stops(SYMBOL, None, None), "unprotected", "has no stop"),
        (_write(sa.delete(dca_buys).where(FIRST)), "dca_schedule", "outcomes of"),
        (_write(sa.update(dca_buys).where(FIRST).values(outcome=dca.REFUSED)), "dca_schedule", "is refused"),
        (_write(sa.update(dca_plans).values(max_deployed=D(300))), "dca_schedule", "at most 300"),
        (_write(sa.update(dca_orders).values(qty=D("0.001"))), "dca_duplicates", "wished 0.001"),
        (_write(sa.delete(fills)), "dca_inventory", "its books to 0"),
        (_write(sa.update(fills).values(fee=D(5))), "dca_profit", "money changed by"),
    ],
)
def test_what_differs_is_named(sqlite: Database, change: Callable[[Stage], None], law: str, says: str) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(PLAN)
        stage.after(2, steps=2)
        found = Findings()
        compare_plan(found, sqlite, stage.exchange, stage.row())
        assert found.broken == []
        change(stage)
        compare_plan(found, sqlite, stage.exchange, stage.row())
        assert any(says in text for text in getattr(found, law)), found.broken


def test_an_order_of_a_plan_that_has_ended_is_named(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(PLAN)
        assert len(left_of_ended(stage.exchange, stage.row(), stage.accounts().orders)) == 2
