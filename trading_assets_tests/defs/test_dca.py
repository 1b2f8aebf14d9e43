"""DCA plans in Dagster: the job looks after them, the sensor starts it, and the asset draws them."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from trading_assets.defs.assets.dca import dca_state
from trading_assets.defs.jobs import maintain_dca
from trading_assets.defs.resources import default_resources
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.automation import GRIDS_MS, Launch, Skip, decide_dca
from trading_assets.trading.dca.control import start
from trading_assets_tests.defs.conftest import ledger_after
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.dca.stage import A_PLAN


@pytest.fixture
def started() -> Iterator[Database]:
    """A ledger with a plan that nobody has looked after yet."""
    with (
        serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), straight(100_000, 97_500)) as running,
        ledger_after(lambda context: start(context, A_PLAN), running.url) as database,
    ):
        yield database


@pytest.mark.slow
def test_the_job_buys_what_is_due_and_the_asset_draws_it(started: Database) -> None:
    instance = dg.DagsterInstance.ephemeral()
    done = maintain_dca.execute_in_process(instance=instance, resources=default_resources())
    assert done.success
    with started.read() as connection:
        (plan,) = dca.living(connection, "main")
        assert [buy.outcome for buy in dca.buys_of(connection, plan.plan_id)] == [dca.FILLED]
    shown = dg.materialize([dca_state], instance=instance, resources=default_resources())
    (event,) = shown.asset_materializations_for_node("dca_state")
    assert event.metadata["plans"].value == 1
    assert str(event.metadata["picture_BTCUSDT"].value).startswith("![DCA plan](data:image/png;base64,iVBOR")


def test_a_run_is_started_where_nobody_has_looked_after_a_plan() -> None:
    def decide(*read_ms: int, **more: object) -> Launch | Skip:
        return decide_dca(**({"now_ms": 10 * GRIDS_MS, "read_ms": read_ms, "run_in_progress": False} | more))  # type: ignore[arg-type]

    assert decide() == Skip("there is no DCA plan")
    assert isinstance(decide(9 * GRIDS_MS), Launch)
    assert isinstance(decide(10 * GRIDS_MS - 1), Skip)
    assert isinstance(decide(0, run_in_progress=True), Skip)
    assert "Their stops wait at the exchange" in str(decide(0, failed_ago_s=(1.0,) * 9))
