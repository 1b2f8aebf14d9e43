"""The trade job as a session: real processes on the embedded exchange, cancelled as the UI does; and its sensor."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from trading_assets.chaos.signal_source import EAGER, selection_row
from trading_assets.core.models import OrderRequest
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, local_ms
from trading_assets.definitions import build_definitions
from trading_assets.defs.ops.session import SERVES
from trading_assets.defs.resources import default_resources
from trading_assets.ledger import leases, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.executions import own_closings
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.context import trading_lease
from trading_assets.trading.session.lease import trader_of
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets.venues import open_exchange
from trading_assets_tests.defs.conftest import HOUR

WITHIN_S = 60.0
SYMBOLS = ("SOLUSDT", "XRPUSDT", "DOGEUSDT")

# Two runs of the trade job begin at the same moment in processes of their own, as two clicks on Launch would.
_RUN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import dagster as dg
from trading_assets.defs.jobs import trade
from trading_assets.defs.resources import default_resources
sys.stdin.readline()
with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    trade.execute_in_process(
        instance=instance, raise_on_error=False, run_config=quiet, resources=default_resources()
    )
"""


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    start = HOUR + HOUR_MS + 15 * MINUTE_MS + 40_000
    with serve_in_thread(ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=start))) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        monkeypatch.setenv("TRADING_ASSETS_MIN_SIGNAL_INTERVAL_S", "0")
        yield running


@pytest.fixture
def ledger(venue: RunningExchange) -> Iterator[Database]:
    """A ledger with three selected coins that are entered on nearly every candle."""
    database = Database(load_settings().resolved_database_url)
    rows = pd.DataFrame([selection_row(HOUR, symbol, parameters=EAGER) for symbol in SYMBOLS])
    replace_partitions(database, STRATEGY_SELECTIONS, rows, [HOUR])
    yield database
    database.close()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)
    return value


def _close_one_by_hand(venue: RunningExchange) -> None:
    """A person closes one of the positions, a second after it was opened."""
    venue.advance(1_000)
    account = open_exchange(load_settings())
    held = account.positions()[0]
    account.place_order(OrderRequest(held.symbol, held.side.opposite, held.size, "by-hand", reduce_only=True))
    account.close()


@pytest.mark.slow
@pytest.mark.parametrize("either_ledger", ["sqlite", "postgresql"], indirect=True)
def test_two_runs_by_hand_one_trades_the_other_says_why_not_and_a_cancel_ends_it_cleanly(
    installation: dg.DagsterInstance, venue: RunningExchange, ledger: Database
) -> None:
    instance = installation
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", _RUN], stdin=subprocess.PIPE, text=True))
            for _ in range(2)
        ]
        try:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            idle = until(lambda: next((one for one in processes if one.poll() is not None), None))
            (busy,) = [one for one in processes if one is not idle]
            trader = trader_of(ledger, "main", wall_ms=local_ms())
            assert trader is not None and busy.poll() is None
            (refused,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
            texts = [entry.user_message for entry in instance.all_logs(refused.run_id)]
            assert any(f"{trader} trades account main on the same selection" in text for text in texts)
            now = venue.now_ms()
            venue.advance(MINUTE_MS - now % MINUTE_MS + 100)
            until(lambda: signals.EXECUTED in set(signals.since(ledger, "main", 0)["status"]))
            _close_one_by_hand(venue)
            until(lambda: own_closings(ledger, "main", 0))  # no reconcile job runs: the account's stream has told it
            busy.send_signal(signal.SIGINT)
            busy.wait(WITHIN_S)
        finally:
            for process in processes:
                process.kill()
        run = instance.get_run_by_id(trader.run)
        assert run is not None and run.tags[SERVES] == trader.serves
        assert run.status is dg.DagsterRunStatus.SUCCESS, "its process was asked to end: a planned stop is no failure"
        assert trader_of(ledger, "main", wall_ms=local_ms()) is None, "the lease was given back"
        written = instance.fetch_materializations(dg.AssetKey("entry_signals"), limit=10).records
        assert {record.run_id for record in written} == {trader.run}
        observed = instance.fetch_observations(dg.AssetKey("entry_signals"), limit=10).records
        observation = observed[0].asset_observation
        assert observation is not None and {"candles decided", "memory MB"} <= observation.metadata.keys()
    account = open_exchange(load_settings())
    positions = account.positions()
    account.close()
    assert positions and all(position.stop_loss is not None for position in positions)


def sensor(instance: dg.DagsterInstance) -> tuple[Any, str]:
    repository = build_definitions().get_repository_def()
    with dg.build_sensor_context(
        instance=instance, repository_def=repository, resources=default_resources()
    ) as context:
        data = repository.get_sensor_def("trade_when_candles_close").evaluate_tick(context)
    return data, data.skip_message or ""


@pytest.mark.slow
def test_the_sensor_starts_a_session_and_says_which_run_is_live(ledger: Database) -> None:
    selected = newest_selection(ledger)
    assert selected is not None
    with dg.DagsterInstance.ephemeral() as instance:
        data, _ = sensor(instance)
        assert len(data.run_requests or []) == 1
        lease = leases.acquire(
            ledger, trading_lease("main"), f"run-a@{selected.key}", ttl_ms=60_000, wall_ms=local_ms()
        )
        assert lease is not None
        data, said = sensor(instance)
        assert not data.run_requests and said == f"run run-a trades on the selection {selected.key}"
        leases.release(ledger, lease)
        other = leases.acquire(ledger, trading_lease("main"), "run-b@older", ttl_ms=60_000, wall_ms=local_ms())
        assert other is not None
        data, _ = sensor(instance)
        (request,) = data.run_requests or []
        assert "run run-b trades on older, the newest selection is" in request.tags["trading_assets/reason"]


@pytest.mark.slow
def test_the_successor_of_a_killed_session_does_not_wait_for_its_lease(ledger: Database) -> None:
    selected = newest_selection(ledger)
    assert selected is not None
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(
            build_definitions().resolve_job_def("trade"), status=dg.DagsterRunStatus.STARTED
        )
        lease = leases.acquire(
            ledger, trading_lease("main"), f"{run.run_id}@{selected.key}", ttl_ms=60_000, wall_ms=local_ms()
        )
        assert lease is not None
        data, _ = sensor(instance)
        assert not data.run_requests
        instance.report_run_failed(run)
        data, _ = sensor(instance)
        assert len(data.run_requests or []) == 1


@pytest.mark.slow
def test_a_run_may_look_once_whatever_the_setting_says(ledger: Database) -> None:
    config = {"ops": {"choose_mode": {"config": {"mode": "once"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions().resolve_job_def("trade")
        result = job.execute_in_process(instance=instance, run_config=config)
    done = {event.step_key for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_SUCCESS}
    assert {"find_entry_signals", "submit_orders"} <= done and "trade_session" not in done
