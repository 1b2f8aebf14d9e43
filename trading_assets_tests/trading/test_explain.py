"""An order told from its candles to its result: every step is there, with its link and the run that made it."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial

import pandas as pd
import pytest
import sqlalchemy as sa
from rich.console import Console

from trading_assets.core.errors import DataError, StorageError
from trading_assets.core.schemas import BACKTEST_RESULTS, CANDLE_COVERAGE, STRATEGY_SELECTIONS, Table
from trading_assets.core.timeframes import HOUR_MS, hour_key
from trading_assets.core.trace import trace_id_of
from trading_assets.ledger import checks, evidence
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.tables import signal_evidence
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.explain import Explanation, Links, Step, explain, markdown, plain, print_explanation
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.fakes import order_link_id
from trading_assets_tests.trading.fixtures import NOW_MS, Harness, add_signal, harness_on

HOUR = NOW_MS // HOUR_MS * HOUR_MS - HOUR_MS
LINKS = Links("http://dagster.example:3000/")
STRATEGY = "fibonacci_bollinger"
"""It reads other timeframes, and those of BTCUSDT."""

FIGURES = {
    "bars": 504,
    "total_trades": 12,
    "win_rate": 75.0,
    "profit_factor": 2.5,
    "total_return": 3.0,
    "max_drawdown": -1.5,
    "sharpe_ratio": 2.0,
    "total_pnl": 30.25,
    "out_of_sample_trades": 3,
    "out_of_sample_pnl": 4.5,
    "configurations": 20,
    "configurations_traded": 18,
    "configurations_tried": 480,
    "deflated_sharpe": 0.9,
    "p_value": 0.01,
    "break_even": 0.4,
    "mean_r": 0.3,
    "p_value_corrected": 0.08,
    "p_value_hour": 0.4,
    "least_trades": 7.0,
    "configurations_effective": 8.0,
    "score": 480.0,
    "confidence_avg": 70.0,
}


def row_of(table: Table, **values: object) -> pd.DataFrame:
    """A row with these values, figures of the test, and zeros."""
    row = {name: 0 if pd.api.types.is_numeric_dtype(dtype) else None for name, dtype in table.dtypes.items()}
    row |= {name: value for name, value in FIGURES.items() if name in row}
    return pd.DataFrame([row | {name: value for name, value in values.items() if name in row}])


@pytest.fixture
def traded(database: Database) -> Harness:
    """A position of ours from a researched hour."""
    common = {"hour_ms": HOUR, "symbol": "AUSDT", "timeframe": "60m", "strategy": STRATEGY, "parameters": "{}"}
    common["scan_id"] = "scan-20270115-080000"
    coverage = []
    for number, (timeframe, symbol) in enumerate([("60m", "AUSDT"), ("240m", "AUSDT"), ("240m", "BTCUSDT")]):
        known = {"hour_ms": HOUR, "symbol": symbol, "timeframe": timeframe, "content_hash": f"{number:016x}"}
        coverage.append(
            row_of(CANDLE_COVERAGE, **known, bars=99, expected_bars=100, last_ms=HOUR, coverage_pct=99.0, fault=None)
        )
    for table, rows, asset in (
        (BACKTEST_RESULTS, row_of(BACKTEST_RESULTS, **common, error=None), "backtest_results/60m"),
        (STRATEGY_SELECTIONS, row_of(STRATEGY_SELECTIONS, **common), "strategy_selections"),
        (CANDLE_COVERAGE, pd.concat(coverage), "candles/60m"),
    ):
        replace_partitions(database, table, rows, [HOUR], written=Write(asset, f"run of {asset}", f"{asset}-v1", 5))
    checks.record(database, [Verdict("strategy_selections", "SCHEMA", True)], [HOUR], "checking")
    harness = harness_on(database, "AUSDT", "BUSDT")
    add_signal(database, "AUSDT", strategy=STRATEGY, run_id="the-trading-run")
    assert len(submit_orders(harness.context).executed) == 1
    harness.later()
    reconcile(harness.context)
    return harness


def signal_of(harness: Harness) -> str:
    return f"main:AUSDT:60m:{STRATEGY}:{NOW_MS - 5_000}"


def step(explanation: Explanation, what: str) -> Step:
    (found,) = [one for one in explanation.steps if one.what.startswith(what)]
    return found


def test_every_step_from_the_order_to_its_candles_has_its_link_and_its_run(traded: Harness) -> None:
    link = order_link_id(signal_of(traded))
    found = explain(traded.database, link, LINKS, "BTCUSDT")
    assert found.signal_id == signal_of(traded)
    assert found.title == f"LONG AUSDT 60m by {STRATEGY}"
    page = f"http://dagster.example:3000/assets/{{}}?view=partitions&partition={hour_key(HOUR).replace(':', '%3A')}"
    for what, asset in (
        ("selection", "strategy_selections"),
        ("backtest", "backtest_results/60m"),
        ("candles 60m AUSDT", "candles/60m"),
    ):
        one = step(found, what)
        assert one.link == page.format(asset)
        assert (one.run_id, one.code_version) == (f"run of {asset}", f"{asset}-v1")
        assert one.run_link == f"http://dagster.example:3000/runs/run%20of%20{asset}"
    assert step(found, "signal").run_id == "the-trading-run"
    assert "content 0000000000000000" in step(found, "candles 60m AUSDT").found
    assert "content 0000000000000002" in step(found, "candles 240m BTCUSDT").found
    assert "12 trades in 504 bars" in step(found, "backtest").found
    assert "480 tried" in step(found, "selection").found
    assert step(found, "parameters").found == "{}"
    assert "intent → submitted → confirmed" in step(found, "order").found
    assert "1 of 1 blocking checks passed" in step(found, "checks").found
    assert "1.000 at 100;" in step(found, "entry fills").found
    assert step(found, "result").found == "the position is open"


@pytest.mark.slow
def test_a_closed_position_tells_its_exit_and_its_net_result(traded: Harness) -> None:
    traded.exchange.close_position("AUSDT", "stop")
    traded.later()
    reconcile(traded.context)
    found = explain(traded.database, signal_of(traded), LINKS, "BTCUSDT")
    values = step(found, "result").values
    (closing,) = [one for one in found.steps if one.what.startswith("closing")]
    assert values["closed"] is True
    assert values["net"] == closing.values["pnl"] < 0
    assert "at its stop" in closing.found
    assert len(step(found, "exit fills").values) == 1


@pytest.mark.slow
def test_any_id_and_any_unique_beginning_of_it_names_the_order(traded: Harness) -> None:
    signal_id, order = signal_of(traded), traded.intent(signal_of(traded))
    assert order is not None
    for text in (signal_id, signal_id[:8], order["order_link_id"], str(order["order_link_id"])[:12], order["order_id"]):
        assert explain(traded.database, str(text), LINKS, "BTCUSDT").signal_id == signal_id


def test_the_trace_id_of_a_line_of_the_log_names_the_order_and_is_told(traded: Harness) -> None:
    signal_id = signal_of(traded)
    found = explain(traded.database, trace_id_of(signal_id), LINKS, "BTCUSDT")
    assert (found.signal_id, plain(found)["trace_id"]) == (signal_id, trace_id_of(signal_id))
    with pytest.raises(DataError, match="begins with"):
        explain(traded.database, trace_id_of("another"), LINKS, "BTCUSDT")


def test_an_unknown_an_empty_and_an_ambiguous_id_are_clear_errors(traded: Harness) -> None:
    add_signal(traded.database, "BUSDT", strategy=STRATEGY)
    for text, says in (("nothing", "begins with 'nothing'"), ("", "found nothing"), ("main:", "begins several")):
        with pytest.raises(DataError, match=says):
            explain(traded.database, text, LINKS, "BTCUSDT")
    with pytest.raises(DataError, match="begins with '%'"):
        explain(traded.database, "%", LINKS, "BTCUSDT")


@pytest.mark.slow
def test_a_signal_without_an_order_tells_why(traded: Harness) -> None:
    refused = add_signal(traded.database, "BUSDT", confidence=1.0)
    submit_orders(traded.context)
    found = explain(traded.database, refused, LINKS, "BTCUSDT")
    assert step(found, "result").found.startswith("no order: the signal is rejected (confidence: 1")
    assert step(found, "backtest").found.startswith("not kept")


def rewritten(harness: Harness, **changes: object) -> None:
    """Every partition of the hour written again, as a backfill of the last day does, with other results."""
    common = {"hour_ms": HOUR, "symbol": "AUSDT", "timeframe": "60m", "strategy": STRATEGY, "parameters": "{}"}
    common |= {"scan_id": "scan-20270115-080000", **changes}
    candles = {"hour_ms": HOUR, "symbol": "AUSDT", "timeframe": "60m", "content_hash": "f" * 16, "fault": None}
    for table, rows, asset in (
        (BACKTEST_RESULTS, row_of(BACKTEST_RESULTS, **common, error=None), "backtest_results/60m"),
        (STRATEGY_SELECTIONS, row_of(STRATEGY_SELECTIONS, **common), "strategy_selections"),
        (CANDLE_COVERAGE, row_of(CANDLE_COVERAGE, **candles, last_ms=HOUR, expected_bars=100), "candles/60m"),
    ):
        replace_partitions(harness.database, table, rows, [HOUR], written=Write(asset, "the backfill", "v2", 9))
    checks.record(harness.database, [Verdict("strategy_selections", "SCHEMA", False, "odd")], [HOUR], "the backfill")


_PAST = ("evidence", "selection", "backtest", "parameters", "candles 60m AUSDT", "candles 240m BTCUSDT", "checks")


def past_of(harness: Harness) -> list[tuple[object, ...]]:
    """What an order is explained by, but for what is said of today."""
    found = explain(harness.database, signal_of(harness), LINKS, "BTCUSDT")
    return [(one.what, one.found, one.run_id, one.code_version, one.values) for one in map(partial(step, found), _PAST)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"total_pnl": 99.0, "profit_factor": 3.5, "score": 700.0},
        {"parameters": '{"band":0.9}'},
        {"timeframe": "15m", "strategy": "hyperrsi"},
        {"symbol": "BUSDT"},
    ],
    ids=["same", "other figures", "other parameters", "another strategy", "another coin"],
)
def test_an_hour_that_is_written_again_changes_nothing_of_what_an_order_was_decided_on(
    traded: Harness, changes: dict[str, object]
) -> None:
    before = past_of(traded)
    rewritten(traded, **changes)
    assert past_of(traded) == before
    assert "it has its hash" in str(before[0][1])


@pytest.mark.slow
def test_it_is_told_whether_todays_rows_are_still_those(traded: Harness) -> None:
    same = explain(traded.database, signal_of(traded), LINKS, "BTCUSDT")
    assert [step(same, what).today for what in ("selection", "backtest", "candles 60m AUSDT")] == ["the same"] * 3
    rewritten(traded, score=700.0)
    found = explain(traded.database, signal_of(traded), LINKS, "BTCUSDT")
    assert step(found, "selection").today == "differs: score 480 → 700 (written again by the back)"
    assert step(found, "backtest").today == "the same (written again by the back)"
    assert "content_hash 0000000000000000 → ffffffffffffffff" in str(step(found, "candles 60m AUSDT").today)
    assert str(step(found, "candles 240m BTCUSDT").today).startswith("not kept any more")
    rewritten(traded, strategy="hyperrsi", timeframe="15m")
    found = explain(traded.database, signal_of(traded), LINKS, "BTCUSDT")
    assert "strategy fibonacci_bollinger → hyperrsi" in str(step(found, "selection").today)
    assert "timeframe 60m → 15m" in str(step(found, "selection").today)


def test_a_snapshot_can_neither_be_changed_nor_deleted_and_a_forged_one_is_told(traded: Harness) -> None:
    for statement in (
        sa.update(signal_evidence).values(content="{}"),
        sa.delete(signal_evidence),
    ):
        with (
            pytest.raises((sa.exc.DBAPIError, StorageError), match="append-only"),
            traded.database.write() as connection,
        ):
            connection.execute(statement)
    forged = {"signal_id": "forged", "content_hash": "0" * 64, "time_ms": 1}
    with traded.database.write() as connection:
        content = connection.execute(sa.select(signal_evidence.c.content)).scalars().first()
        connection.execute(sa.insert(signal_evidence).values(content=content, **forged))
    with traded.database.read() as connection:
        kept = [evidence.read(connection, name) for name in (signal_of(traded), "forged")]
    assert [one is not None and one.is_intact for one in kept] == [True, False]


@pytest.mark.slow
def test_a_signal_from_before_snapshots_blames_no_retention_for_a_row_that_was_written_again(traded: Harness) -> None:
    refused = add_signal(traded.database, "AUSDT", strategy=STRATEGY, signal_timestamp_ms=NOW_MS - 3_605_000)
    with traded.database.write() as connection:
        allow_changes_of(connection)
        connection.execute(sa.delete(signal_evidence))
    found = explain(traded.database, refused, LINKS, "BTCUSDT")
    assert step(found, "evidence").found.startswith("no snapshot")
    assert "12 trades in 504 bars" in step(found, "backtest").found and step(found, "backtest").today is None
    rewritten(traded, parameters='{"band":0.9}')
    found = explain(traded.database, refused, LINKS, "BTCUSDT")
    assert 'written again since: today fibonacci_bollinger 60m {"band":0.9}' in step(found, "backtest").found


def allow_changes_of(connection: sa.Connection) -> None:
    """What only a revision may do."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP TRIGGER signal_evidence_append_only ON signal_evidence")
    else:
        connection.exec_driver_sql("DROP TRIGGER signal_evidence_append_only_delete")


def test_json_markdown_and_print_tell_the_same_and_round_no_money(traded: Harness) -> None:
    found = explain(traded.database, signal_of(traded), LINKS, "BTCUSDT")
    again = json.loads(json.dumps(plain(found)))
    assert [one["what"] for one in again["steps"]] == [one.what for one in found.steps]
    (fills,) = [one["values"] for one in again["steps"] if one["what"] == "entry fills"]
    assert Decimal(fills[0]["fee"]) == step(found, "entry fills").values[0]["fee"]
    text = markdown(found)
    console = Console(width=300)
    with console.capture() as captured:
        print_explanation(found, console)
    printed = captured.get()
    assert f"trace {found.trace_id}" in printed
    for one in found.steps:
        assert one.found.replace("|", "\\|") in text
        if one.link:
            assert f"]({one.link})" in text
            assert one.link in printed
