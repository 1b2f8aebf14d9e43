"""An order told from its candles to its result: every step is there, with its link and the run that made it."""

from __future__ import annotations

import json
from decimal import Decimal

import pandas as pd
import pytest
from rich.console import Console

from trading_assets.core.errors import DataError
from trading_assets.core.schemas import BACKTEST_RESULTS, CANDLE_COVERAGE, STRATEGY_SELECTIONS, Table
from trading_assets.core.timeframes import HOUR_MS, hour_key
from trading_assets.ledger import checks
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.explain import Explanation, Links, Step, explain, markdown, plain, print_explanation
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.fakes import order_link_id
from trading_assets_tests.trading.fixtures import NOW_MS, Bench, add_signal, bench_on

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
    return pd.DataFrame([row | values])


@pytest.fixture
def traded(database: Database) -> Bench:
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
    bench = bench_on(database, "AUSDT", "BUSDT")
    add_signal(database, "AUSDT", strategy=STRATEGY, run_id="the-trading-run")
    assert len(submit_orders(bench.context).executed) == 1
    bench.later()
    reconcile(bench.context)
    return bench


def signal_of(bench: Bench) -> str:
    return f"main:AUSDT:60m:{STRATEGY}:{NOW_MS - 5_000}"


def step(explanation: Explanation, what: str) -> Step:
    (found,) = [one for one in explanation.steps if one.what.startswith(what)]
    return found


def test_every_step_from_the_order_to_its_candles_has_its_link_and_its_run(traded: Bench) -> None:
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


def test_a_closed_position_tells_its_exit_and_its_net_result(traded: Bench) -> None:
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


def test_any_id_and_any_unique_beginning_of_it_names_the_order(traded: Bench) -> None:
    signal_id, order = signal_of(traded), traded.intent(signal_of(traded))
    assert order is not None
    for text in (signal_id, signal_id[:8], order["order_link_id"], str(order["order_link_id"])[:12], order["order_id"]):
        assert explain(traded.database, str(text), LINKS, "BTCUSDT").signal_id == signal_id


def test_an_unknown_an_empty_and_an_ambiguous_id_are_clear_errors(traded: Bench) -> None:
    add_signal(traded.database, "BUSDT", strategy=STRATEGY)
    for text, says in (("nothing", "begins with 'nothing'"), ("", "found nothing"), ("main:", "begins several")):
        with pytest.raises(DataError, match=says):
            explain(traded.database, text, LINKS, "BTCUSDT")
    with pytest.raises(DataError, match="begins with '%'"):
        explain(traded.database, "%", LINKS, "BTCUSDT")


def test_a_signal_without_an_order_tells_why(traded: Bench) -> None:
    refused = add_signal(traded.database, "BUSDT", confidence=1.0)
    submit_orders(traded.context)
    found = explain(traded.database, refused, LINKS, "BTCUSDT")
    assert step(found, "result").found.startswith("no order: the signal is rejected (confidence: 1")
    assert step(found, "backtest").found.startswith("not kept")


def test_json_markdown_and_print_tell_the_same_and_round_no_money(traded: Bench) -> None:
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
    for one in found.steps:
        assert one.found.replace("|", "\\|") in text
        if one.link:
            assert f"]({one.link})" in text
            assert one.link in printed
