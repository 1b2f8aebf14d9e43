"""Grids in Dagster: the job looks after them, the sensor starts it, and the asset draws them."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from trading_assets.definitions import build_definitions
from trading_assets.defs.assets.grids import grid_state
from trading_assets.defs.jobs import maintain_grids, reconcile
from trading_assets.defs.resources import default_resources
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.automation import GRIDS_MS, Launch, Skip, decide_grids
from trading_assets.trading.grid.control import start
from trading_assets_tests.defs.conftest import ledger_after
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.grid.stage import A_PLAN


@pytest.fixture
def venue() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), straight(100_000, 97_500)) as running:
        yield running


@pytest.fixture
def started(venue: RunningExchange) -> Iterator[Database]:
    """A ledger with a grid that nobody has looked after yet."""
    with ledger_after(lambda context: start(context, A_PLAN), venue.url) as database:
        yield database


@pytest.mark.slow
def test_the_job_looks_after_the_grids_and_the_asset_draws_them(started: Database) -> None:
    instance = dg.DagsterInstance.ephemeral()
    done = maintain_grids.execute_in_process(instance=instance, resources=default_resources())
    assert done.success
    assert len(grids.working_orders(started, "main")) == 12
    shown = dg.materialize([grid_state], instance=instance, resources=default_resources())
    (event,) = shown.asset_materializations_for_node("grid_state")
    assert event.metadata["grids"].value == 1
    assert str(event.metadata["picture_BTCUSDT"].value).startswith("![grid](data:image/png;base64,iVBOR")


def test_one_look_of_the_sensor_asks_for_the_books_and_for_the_grid_and_then_for_what_is_due(
    started: Database, venue: RunningExchange
) -> None:
    venue.advance(GRIDS_MS)
    repository = build_definitions().get_repository_def()

    def look(instance: dg.DagsterInstance) -> tuple[list[str | None], str]:
        with dg.build_sensor_context(
            instance=instance, repository_def=repository, resources=default_resources()
        ) as context:
            found = repository.get_sensor_def("reconcile_books").evaluate_tick(context)
        return [request.job_name for request in found.run_requests or []], found.skip_message or ""

    with dg.DagsterInstance.ephemeral() as instance:
        assert look(instance) == (["reconcile", "maintain_grids"], "")
        for job in (reconcile, maintain_grids):
            assert job.execute_in_process(instance=instance, resources=default_resources()).success
        requested, said = look(instance)
        assert requested == []
        for reason in ("due every 60", "1 grids, looked after 0 s ago; due every 30 s", "there is no DCA plan"):
            assert reason in said
        instance.create_run_for_job(maintain_grids, status=dg.DagsterRunStatus.STARTED)
        assert "a run looks after them" in look(instance)[1]


def test_a_run_is_started_where_nobody_has_looked_after_a_grid() -> None:
    def decide(*read_ms: int, **more: object) -> Launch | Skip:
        return decide_grids(**({"now_ms": 10 * GRIDS_MS, "read_ms": read_ms, "run_in_progress": False} | more))  # type: ignore[arg-type]

    assert decide() == Skip("there is no grid")
    assert isinstance(decide(10 * GRIDS_MS, 9 * GRIDS_MS), Launch)
    assert isinstance(decide(10 * GRIDS_MS - 1), Skip)
    assert isinstance(decide(0, run_in_progress=True), Skip)
    assert "Their stops wait at the exchange" in str(decide(0, failed_ago_s=(1.0,) * 9))
