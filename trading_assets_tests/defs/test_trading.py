"""The trade and reconcile jobs and what launches them, on the embedded exchange."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.errors import AccountShapeError
from trading_assets.core.models import ContractKind, PositionMode
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, floor_ms
from trading_assets.definitions import build_definitions
from trading_assets.defs import instance_queries
from trading_assets.defs.ops.trade import submit_orders
from trading_assets.defs.resources import default_resources
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import checks, outbox, risk, signals, troubles
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.ledger.strategies import seed_registry, set_active
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.venues import open_exchange
from trading_assets_tests.defs.conftest import HOUR, SYMBOLS, run_job

SYMBOL = "SOLUSDT"


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    """An exchange with an account of its own, ten seconds after a quarter of an hour."""
    start = HOUR + HOUR_MS + 15 * MINUTE_MS + 10_000
    with serve_in_thread(ServeConfig(symbols=SYMBOLS, clock=ClockSpec(ClockMode.MANUAL, start_ms=start))) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        monkeypatch.setenv("TRADING_ASSETS_TRADE_MODE", "once")
        yield running


@pytest.fixture
def ledger() -> Iterator[Database]:
    database = Database(load_settings().resolved_database_url)
    yield database
    database.close()


@pytest.fixture
def account(venue: RunningExchange) -> Iterator[Exchange]:
    exchange = open_exchange(load_settings())
    yield exchange
    exchange.close()


def put_signal(database: Database, exchange: Exchange, *, symbol: str = SYMBOL, stop_pct: float = 1.0) -> str:
    """A waiting LONG signal at the price of now."""
    now, price = exchange.now_ms(), float(exchange.ticker(symbol).last)
    closed = floor_ms(now, 15 * MINUTE_MS)
    row: dict[str, object] = {
        "signal_id": f"main:{symbol}:15m:bollinger_rsi:{closed}",
        "hour_ms": HOUR,
        "account": "main",
        "symbol": symbol,
        "timeframe": "15m",
        "strategy": "bollinger_rsi",
        "parameters": "{}",
        "signal_timestamp_ms": closed,
        "ttl_ms": closed + 300_000,
        "confidence": 70.0,
        "position_type": "LONG",
        "entry_price": price,
        "stop_loss": round(price * (1 - stop_pct / 100), 2),
        "take_profit": round(price * (1 + 2 * stop_pct / 100), 2),
        "position_size": 100.0,
        "leverage": 10.0,
        "risk_reward_ratio": 2.0,
        "status": "active",
        "created_at_ms": now,
    }
    assert signals.insert(database, row)
    return str(row["signal_id"])


def step_metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Metadata of the only output with any."""
    outputs = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT]
    (metadata,) = [e.step_output_data.metadata for e in outputs if e.step_output_data.metadata]
    return dict(metadata)


@pytest.mark.usefixtures("either_ledger")
def test_one_order_for_a_signal_however_often_the_job_runs(ledger: Database, account: Exchange) -> None:
    signal_id = put_signal(ledger, account)
    for _ in range(4):
        run_job("trade")
    trades = [e for e in account.executions(account.now_ms() - HOUR_MS, account.now_ms() + 1) if e.exec_type == "Trade"]
    assert {execution.order_link_id for execution in trades} == {trades[0].order_link_id}
    row = signals.by_ids(ledger, [signal_id]).iloc[0]
    assert row["status"] == signals.EXECUTED
    assert row["order_link_id"] == trades[0].order_link_id
    position = account.position(SYMBOL)
    assert position is not None
    assert float(position.stop_loss or 0) == row["stop_loss"]
    assert float(position.take_profit or 0) == row["take_profit"]


@pytest.mark.slow
def test_an_account_in_hedge_mode_is_refused_in_once_mode_and_told_once(
    ledger: Database, account: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_id = put_signal(ledger, account)
    asked = type(account).account_shape
    monkeypatch.setattr(
        type(account), "account_shape", lambda *given: replace(asked(*given), position_mode=PositionMode.HEDGE)
    )
    for _ in range(2):
        with pytest.raises(AccountShapeError, match="accounts prepare"):
            run_job("trade")
    assert signals.by_ids(ledger, [signal_id]).iloc[0]["status"] == signals.ACTIVE
    with ledger.read() as connection:
        assert len(risk.open_episodes(connection, "main", ("refused order",))) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("either_ledger")
def test_a_position_is_followed_from_fill_to_closing(
    venue: RunningExchange, ledger: Database, account: Exchange
) -> None:
    signal_id = put_signal(ledger, account, stop_pct=0.3)
    run_job("trade")
    run_job("reconcile")
    assert account_ledger.position_rows(ledger, "main")["symbol"].tolist() == [SYMBOL]
    for _ in range(48):
        venue.advance(HOUR_MS // 2)
        if account.position(SYMBOL) is None:
            break
    told = step_metadata(run_job("reconcile"))
    assert isinstance(told["closed"], dg.MarkdownMetadataValue)
    for part in (f"`{signal_id}`", "partition=2026-03-02-01%3A00", "| result | net "):
        assert part in str(told["closed"].value)
    assert account_ledger.position_rows(ledger, "main").empty
    closing = execution_ledger.closing_rows(ledger, "main").iloc[0]
    assert closing["reason"] in ("stop", "target")
    assert closing["signal_id"] == signal_id
    assert (closing["pnl"] > 0) == (closing["reason"] == "target")
    fills = execution_ledger.fill_rows(ledger, "main")
    assert (fills["exec_type"] == "Trade").sum() >= 2
    before = len(fills)
    run_job("reconcile")
    assert len(execution_ledger.fill_rows(ledger, "main")) == before
    assert len(execution_ledger.closing_rows(ledger, "main")) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("either_ledger")
def test_the_finder_decides_on_selections_and_materialises_what_it_finds(
    venue: RunningExchange, ledger: Database, account: Exchange
) -> None:
    symbols = [i.symbol for i in account.instruments() if i.settle_coin == "USDT" and i.kind is ContractKind.PERPETUAL]
    rows = [selection_row(HOUR, symbol, "15m") for symbol in symbols]
    replace_partitions(ledger, STRATEGY_SELECTIONS, pd.DataFrame(rows), [HOUR])
    found, events = 0, []
    runs = set()
    for _ in range(12):
        result = run_job("trade")
        runs.add(result.run_id)
        events += [e for e in result.all_events if e.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION]
        found = len(signals.since(ledger, "main", 0))
        if found:
            break
        venue.advance(15 * MINUTE_MS)
    assert found, "no coin gave a signal on 12 closed candles"
    assert {event.asset_key for event in events} == {dg.AssetKey("entry_signals")}
    assert {event.partition for event in events} == {"2026-03-02-01:00"}
    assert set(signals.since(ledger, "main", 0)["run_id"]) <= runs
    came_from = str(events[-1].step_materialization_data.materialization.metadata["came_from"].value)
    assert "/assets/backtest_results/15m?view=partitions&partition=2026-03-02-01%3A00" in came_from
    again = run_job("trade")
    assert len(signals.since(ledger, "main", 0)) == found
    assert not [e for e in again.all_events if e.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION]


def sensor(name: str, instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[Any, str]:
    """Evaluate a sensor of the definitions; its result and what it says."""
    repository = build_definitions().get_repository_def()
    with dg.build_sensor_context(
        instance=instance, repository_def=repository, cursor=cursor, resources=default_resources()
    ) as context:
        data = repository.get_sensor_def(name).evaluate_tick(context)
    return data, data.skip_message or ""


@pytest.mark.slow
def test_the_trade_sensor_waits_for_a_selection_then_launches_once_a_candle(
    venue: RunningExchange, ledger: Database
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        data, said = sensor("trade_when_candles_close", instance)
        assert not data.run_requests and "selected" in said
        row = selection_row(HOUR, SYMBOL, "5m")
        replace_partitions(ledger, STRATEGY_SELECTIONS, pd.DataFrame([row]), [HOUR])
        data, _ = sensor("trade_when_candles_close", instance)
        assert len(data.run_requests or []) == 1
        cursor = data.cursor
        data, said = sensor("trade_when_candles_close", instance, cursor)
        assert not data.run_requests and "no candle of 5m" in said
        venue.advance(5 * MINUTE_MS)
        data, _ = sensor("trade_when_candles_close", instance, cursor)
        assert len(data.run_requests or []) == 1


@pytest.mark.slow
def test_the_research_sensor_catches_up_three_times_at_most_and_says_why_it_skips(venue: RunningExchange) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        keys = []
        for number in range(5):
            data, _ = sensor("research_catch_up", instance)
            (request,) = data.run_requests or []
            assert request.partition_key == "2026-03-02-01:00"
            keys.append(request.run_key)
            # Its machine was updated twice: those tries do not count.
            run_ended(instance, "research", request.partition_key, is_stopped=number in (1, 3))
        assert len(set(keys)) == 5, "a run key fires once"
        data, said = sensor("research_catch_up", instance)
        assert not data.run_requests and "tried 3 times already" in said
        ledger = Database(load_settings().resolved_database_url)
        (trouble,) = troubles.current(ledger, "main")
        assert "tried 3 times already" in trouble.text, "status and doctor show it"
        (told,) = outbox.newest(ledger, "main", 9)
        assert told.message.title == "research_catch_up does not go on"
        instance.report_runless_asset_event(
            dg.AssetMaterialization("strategy_selections", partition="2026-03-02-01:00")
        )
        data, said = sensor("research_catch_up", instance)
        assert not data.run_requests and "is selected" in said
        assert troubles.current(ledger, "main") == []
        ledger.close()


@pytest.mark.slow
def test_a_blocked_hour_is_tried_again_when_its_cause_is_gone_and_not_before(
    venue: RunningExchange, ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, failed = "research_blocked_hours", Verdict("market_scan", "SCHEMA", False, "3 rows")
    with dg.DagsterInstance.ephemeral() as instance:
        data, said = sensor(name, instance)
        assert not data.run_requests and said == "no recent hour is blocked"
        checks.record(ledger, [failed], [HOUR], "run")
        for _ in range(3):
            data, said = sensor(name, instance, data.cursor)
            assert not data.run_requests and "nothing has changed since: hour 2026-03-02-01:00 is blocked" in said
            assert "SCHEMA of market_scan failed: 3 rows. Mend the cause" in said
        seed_registry(ledger)
        set_active(ledger, "hyperrsi", False)
        data, _ = sensor(name, instance, data.cursor)
        assert [request.partition_key for request in data.run_requests or []] == ["2026-03-02-01:00"]
        first = data.run_requests[0].run_key
        data, _ = sensor(name, instance, data.cursor)
        assert not data.run_requests, "once for each change"
        monkeypatch.setenv("TRADING_ASSETS_MIN_TRADES", "3")
        data, _ = sensor(name, instance, data.cursor)
        assert [request.run_key == first for request in data.run_requests or []] == [False]
        checks.record(ledger, [Verdict("market_scan", "SCHEMA", True)], [HOUR], "by hand")
        data, _ = sensor(name, instance, data.cursor)
        assert [request.partition_key for request in data.run_requests or []] == ["2026-03-02-01:00"]
        data, said = sensor(name, instance, data.cursor)
        assert not data.run_requests and said == "no recent hour is blocked"


@pytest.mark.slow
def test_the_reconcile_sensor_launches_at_first_and_then_waits(venue: RunningExchange, ledger: Database) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        data, _ = sensor("reconcile_books", instance)
        assert len(data.run_requests or []) == 1
        run_job("reconcile")
        data, said = sensor("reconcile_books", instance)
        assert not data.run_requests and "due every 600 s" in said
        venue.advance(10 * MINUTE_MS)
        data, _ = sensor("reconcile_books", instance)
        assert len(data.run_requests or []) == 1


def test_a_sensor_that_cannot_see_the_exchange_skips_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRADING_ASSETS_TRADE_MODE", "once")
    with dg.DagsterInstance.ephemeral() as instance:
        for name in ("research_catch_up", "trade_when_candles_close", "reconcile_books"):
            data, said = sensor(name, instance)
            assert not data.run_requests and "TRADING_ASSETS_SIMULATOR_URL" in said


@pytest.mark.slow
def test_the_minute_schedule_selects_again_only_after_a_newer_backtest(tmp_path: Path) -> None:
    repository = build_definitions().get_repository_def()
    schedule = repository.get_schedule_def("selection_every_minute")
    at = pd.Timestamp("2026-03-02T02:30:00Z").to_pydatetime()

    def tick(instance: dg.DagsterInstance) -> Any:
        context = dg.build_schedule_context(
            instance=instance, repository_def=repository, scheduled_execution_time=at, resources=default_resources()
        )
        return schedule.evaluate_tick(context)

    def write(instance: dg.DagsterInstance, key: dg.AssetKey) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2026-03-02-01:00"))

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert "no recent hour" in (tick(instance).skip_message or "")
        write(instance, instance_queries.BACKTEST_KEYS[0])
        write(instance, instance_queries.SELECTION_KEY)
        assert "no backtest is newer" in (tick(instance).skip_message or "")
        write(instance, instance_queries.BACKTEST_KEYS[3])
        requests = tick(instance).run_requests or []
        assert [request.partition_key for request in requests] == ["2026-03-02-01:00"]
        failing = {**requests[0].tags, instance_queries.PARTITION_TAG: "2026-03-02-01:00"}
        for _ in range(3):
            assert tick(instance).run_requests
            run = dg.DagsterRun(
                job_name="select", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.FAILURE, tags=failing
            )
            instance.add_run(run)
        assert "tried 3 times" in (tick(instance).skip_message or "")
        write(instance, instance_queries.BACKTEST_KEYS[3])
        assert tick(instance).run_requests, "newer backtests are worth new tries"
        write(instance, instance_queries.SELECTION_KEY)
        assert not tick(instance).run_requests


def scheduled(name: str, at: str) -> Any:
    repository = build_definitions().get_repository_def()
    context = dg.build_schedule_context(
        repository_def=repository,
        scheduled_execution_time=pd.Timestamp(at).to_pydatetime(),
        resources=default_resources(),
    )
    return repository.get_schedule_def(name).evaluate_tick(context)


def test_the_hourly_schedule_asks_for_the_hour_that_has_just_ended(venue: RunningExchange) -> None:
    requests = scheduled("research_hourly", "2026-03-02T02:00:00Z").run_requests or []
    assert [request.partition_key for request in requests] == ["2026-03-02-01:00"]


@pytest.mark.parametrize(
    ("name", "at"), [("research_hourly", "2026-03-02T03:00:00Z"), ("parity_daily", "2026-03-03T00:20:00Z")]
)
def test_a_schedule_skips_what_has_not_ended_by_the_exchanges_clock(venue: RunningExchange, name: str, at: str) -> None:
    data = scheduled(name, at)
    assert not data.run_requests and "the exchange's clock shows 2026-03-02T02:15:10" in data.skip_message


def test_a_schedule_does_not_wait_for_an_exchange_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
    assert len(scheduled("research_hourly", "2026-03-02T02:00:00Z").run_requests or []) == 1


def test_a_signal_that_breaks_its_schema_is_never_executed(
    ledger: Database, account: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_signal(ledger, account)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_op_context(instance=instance, resources=default_resources()) as context,
        pytest.raises(dg.Failure, match="no order was sent"),
    ):
        submit_orders(context, may_execute=False, account="main")
    assert not account.positions()
    assert json.loads(signals.since(ledger, "main", 0)["status"].to_json()) == {"0": "active"}


def run_ended(
    instance: dg.DagsterInstance,
    job: str,
    hour: str | None,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.FAILURE,
    *,
    is_stopped: bool = False,
) -> dg.DagsterRun:
    """A run in the history; one that was stopped bears the tag that Dagster gives it."""
    tags = {} if hour is None else {instance_queries.PARTITION_TAG: hour}
    if is_stopped:
        tags["dagster/failure_reason"] = "UNEXPECTED_TERMINATION"
    run = dg.DagsterRun(job_name=job, run_id=str(uuid.uuid4()), status=status, tags=tags)
    instance.add_run(run)
    return run


def test_failures_are_counted_by_hour_where_there_are_hours_and_in_a_row_elsewhere() -> None:
    failed, good = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
    with dg.DagsterInstance.ephemeral() as instance:
        for hour in ("2026-03-02-00:00", "2026-03-02-01:00", "2026-03-02-01:00"):
            last = run_ended(instance, "research", hour, failed)
        run_ended(instance, "research", "2026-03-02-01:00", good)
        assert instance_queries.consecutive_failures(instance, last) == 2
        assert instance_queries.attempts(instance, "research", HOUR) == 3
        assert instance_queries.consecutive_failures(instance, run_ended(instance, "reconcile", None, failed)) == 1
