"""`live_parity` as Dagster runs it: rows, what the page shows, and its check. How days are compared is tested apart."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal as D

import dagster as dg
import pandas as pd
import pytest

from trading_assets.accounts import registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.core.errors import DataError
from trading_assets.core.models import Side
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS
from trading_assets.definitions import build_definitions
from trading_assets.defs.checks.parity import EXPLAINED, least_explained
from trading_assets.defs.resources import default_resources
from trading_assets.ledger import dca, signals, switches
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.ledger.partitions import read_partitions
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.dca.plans import Plan, columns_of
from trading_assets_tests.defs.conftest import HOUR, run_job
from trading_assets_tests.trading.fixtures import signal_row

DAY = HOUR // DAY_MS * DAY_MS


@pytest.fixture(scope="module")
def day_after() -> Iterator[RunningExchange]:
    config = ServeConfig(symbols=5, clock=ClockSpec(ClockMode.MANUAL, start_ms=DAY + DAY_MS + 600_000))
    with serve_in_thread(config) as running:
        yield running


@pytest.fixture
def ledger(day_after: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", day_after.url)
    database = Database(load_settings().resolved_database_url)
    yield database
    database.close()


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [found] = [check for check in result.get_asset_check_evaluations() if check.check_name == EXPLAINED]
    return found


@pytest.mark.slow
def test_a_quiet_day_is_explained(ledger: Database) -> None:
    check = check_of(run_job("parity", "2026-03-02"))
    assert check.passed
    assert check.metadata["decisions"].value == 0


@pytest.mark.slow
def test_what_is_not_explained_fails_the_check_and_is_shown(ledger: Database) -> None:
    close = HOUR + 900_000
    row = signal_row(timeframe="15m", signal_timestamp_ms=close, ttl_ms=close + 1, created_at_ms=close, hour_ms=HOUR)
    assert signals.insert(ledger, row)
    result = run_job("parity", "2026-03-02")
    rows = read_partitions(ledger, LIVE_PARITY, [DAY])
    assert rows["outcome"].tolist() == ["signal not in the backtest"]
    [materialization] = result.asset_materializations_for_node("live_parity")
    assert materialization.partition == "2026-03-02"
    assert materialization.metadata["explained_pct"].value == 0.0
    check = check_of(result)
    assert not check.passed
    assert "0.0 % of 1 decisions are explained" in str(check.description)
    again = run_job("parity", "2026-03-01", until="2026-03-02")
    assert len(read_partitions(ledger, LIVE_PARITY, [DAY - DAY_MS, DAY])) == 1, "a day written again is replaced"
    assert check_of(again).metadata["days"].value == "2026-03-01 .. 2026-03-02"


@pytest.mark.slow
def test_a_dca_plan_that_bought_nothing_is_held_against_its_backtest(ledger: Database) -> None:
    plan = Plan("BTCUSDT", Side.BUY, "every 6h", DAY, D(200), D(1000), D(2), stop_pct=D(20))
    row = PlanRow(
        plan_id="main:BTCUSDT:dca:1",
        account="main",
        **columns_of(plan),
        state=dca.RUNNING,
        reason=None,
        closes=True,
        decided_ms=DAY,
        hands_seen=0,
        resumed_ms=DAY,
        differs_since_wall_ms=None,
        bare_since_wall_ms=None,
        told=None,
        read_ms=DAY,
        mark_price=None,
        created_ms=DAY,
        updated_ms=DAY,
    )
    with ledger.write() as connection:
        dca.add(connection, row)
    result = run_job("parity", "2026-03-02")
    rows = read_partitions(ledger, LIVE_PARITY, [DAY])
    assert set(rows["strategy"]) == {"dca"}
    assert rows["outcome"].tolist() == ["order missing"] * 4
    assert set(rows["reason"][1:]) == {"after a difference before: the scheduled time has no outcome in the ledger"}
    assert rows["entry_price"].gt(0).all() and not rows["live"].any()
    assert not check_of(result).passed


def test_an_account_does_not_hide_behind_another_one() -> None:
    rows = pd.DataFrame({"account": ["main"] * 98 + ["second"] * 2, "explained": [1] * 99 + [0]})
    assert least_explained(rows, {"main": 95.0, "second": 95.0}) == (50.0, "second")
    assert least_explained(rows, {"main": 99.9, "second": 40.0}) == (100.0, "main"), "second asks for less, and has it"
    assert least_explained(rows, {"main": 100.0, "second": 100.0}) == (50.0, "second")
    assert least_explained(rows[:0], {}) == (100.0, "")


@pytest.mark.slow
def test_each_account_that_is_on_or_was_on_that_day_is_compared(ledger: Database) -> None:
    for name in ("second", "idle", "off"):
        wanted = AccountDraft(name, "simulator", None, {}, {})
        registry.add(ledger, load_settings(), wanted, actor="a test", reason="to see")
    switches.set_switch(ledger, "off", on=False, actor="a test", reason="to see", wall_ms=1)
    close = HOUR + 900_000
    times = {"timeframe": "15m", "signal_timestamp_ms": close, "ttl_ms": close + 1, "created_at_ms": close}
    for name in ("second", "off"):  # it was on that day
        assert signals.insert(ledger, signal_row(account=name, signal_id=f"{name}:1", hour_ms=HOUR, **times))
    result = run_job("parity", "2026-03-02")
    rows = read_partitions(ledger, LIVE_PARITY, [DAY])
    assert sorted(rows["account"]) == ["off", "second"]
    check = check_of(result)
    assert not check.passed and "0.0 % of 1 decisions of account" in str(check.description)


def test_a_day_that_has_not_ended_is_refused(ledger: Database) -> None:
    with pytest.raises(DataError, match="2026-03-04T00:05:00Z"):
        run_job("parity", "2026-03-03")


def test_the_schedule_asks_for_the_day_that_has_ended(ledger: Database) -> None:
    repository = build_definitions().get_repository_def()
    context = dg.build_schedule_context(
        repository_def=repository,
        scheduled_execution_time=pd.Timestamp("2026-03-03T00:20:00Z").to_pydatetime(),
        resources=default_resources(),
    )
    requests = repository.get_schedule_def("parity_daily").evaluate_tick(context).run_requests or []
    assert [request.partition_key for request in requests] == ["2026-03-02"]
