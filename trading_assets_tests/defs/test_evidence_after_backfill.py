"""A real backfill of the hour behind a live order: the order keeps its evidence, and parity judges it by that."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe, floor_ms
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.evidence import Decided
from trading_assets.ledger.partitions import read_partitions
from trading_assets.ledger.strategies import set_active
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.decide.sizing import stops
from trading_assets.trading.explain import Explanation, Links, explain
from trading_assets.trading.parity import load
from trading_assets.venues import open_exchange
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, ROOT, SYMBOLS, point_at, run_job

LINKS = Links("http://127.0.0.1:3000")


@pytest.fixture
def venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    """An exchange of its own, and a directory as the one in which a user types."""
    start = HOUR + HOUR_MS + 15 * MINUTE_MS + 10_000
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    monkeypatch.setenv("TRADING_ASSETS_TRADE_MODE", "once")
    monkeypatch.chdir(tmp_path)
    with serve_in_thread(ServeConfig(symbols=SYMBOLS, clock=ClockSpec(ClockMode.MANUAL, start_ms=start))) as running:
        point_at(running, monkeypatch)
        yield running


def backfill() -> str:
    """`trading-assets backfill` of the hour; the id of its run."""
    answer = CliRunner().invoke(cli, ["backfill", "--from", HOUR_KEY, "--to", HOUR_KEY])
    assert answer.exit_code == 0, answer.output
    with dg.DagsterInstance.get() as instance:
        (run, *_) = instance.get_runs(dg.RunsFilter(job_name="research"), limit=1)
        assert run.status is dg.DagsterRunStatus.SUCCESS
        return run.run_id


def order_on(database: Database, account: Exchange, followed: dict[str, Any]) -> str:
    """A signal of a selection as the finder writes it, executed by the job."""
    now, symbol, timeframe = account.now_ms(), str(followed["symbol"]), Timeframe(str(followed["timeframe"]))
    price = account.ticker(symbol).last
    (tick,) = [one.tick_size for one in account.instruments() if one.symbol == symbol]
    levels = stops(price, price / 100, Decimal(2), long=True, tick=tick)
    assert levels is not None
    closed = floor_ms(now, 15 * MINUTE_MS)
    row = {
        **{name: followed[name] for name in ("hour_ms", "symbol", "timeframe", "strategy", "parameters")},
        "signal_id": f"main:{symbol}:{timeframe.value}:{followed['strategy']}:{closed}",
        "account": "main",
        "signal_timestamp_ms": closed,
        "ttl_ms": closed + 300_000,
        "confidence": 70.0,
        "position_type": "LONG",
        "entry_price": float(price),
        "stop_loss": float(levels[0]),
        "take_profit": float(levels[1]),
        "position_size": 100.0,
        "leverage": 10.0,
        "risk_reward_ratio": 2.0,
        "status": "active",
        "created_at_ms": now,
    }
    decided = {str(row["signal_id"]): Decided(followed, {}, {"rsi": 29.5})}
    assert signals.insert_new(database, [row], btc="BTCUSDT", decided=decided)
    run_job("trade")
    (status,) = signals.by_ids(database, [str(row["signal_id"])])["status"]
    assert status == signals.EXECUTED
    return str(row["signal_id"])


def past(found: Explanation) -> list[tuple[object, ...]]:
    """All that an order is explained by, but for what is said of today."""
    return [(one.what, one.found, one.run_id, one.code_version, one.values) for one in found.steps]


@pytest.mark.slow
def test_a_backfill_of_the_hour_leaves_the_evidence_of_a_live_order_as_it_was(venue: RunningExchange) -> None:
    first = backfill()
    settings = load_settings()
    database, account = Database(settings.resolved_database_url), open_exchange(settings)
    selected = read_partitions(database, STRATEGY_SELECTIONS, [HOUR])
    followed = selected.iloc[0].to_dict()
    signal = order_on(database, account, followed)
    before = explain(database, signal, LINKS, "BTCUSDT")
    assert first in {one.run_id for one in before.steps}
    assert {one.today for one in before.steps if one.today is not None} == {"the same"}

    # The hour again with the same strategies, and again without the one that was followed.
    again = backfill()
    same = explain(database, signal, LINKS, "BTCUSDT")
    assert past(same) == past(before)
    assert {one.today for one in same.steps if one.today is not None} == {f"the same (written again by {again[:8]})"}
    set_active(database, str(followed["strategy"]), False)
    backfill()
    now = read_partitions(database, STRATEGY_SELECTIONS, [HOUR])
    assert followed["strategy"] not in set(now["strategy"])
    after = explain(database, signal, LINKS, "BTCUSDT")
    assert past(after) == past(before)
    (selection,) = [one for one in after.steps if one.what == "selection"]
    assert selection.today is not None and not selection.today.startswith("the same")
    assert not any("retention" in one.found for one in after.steps)

    day = floor_ms(HOUR, DAY_MS)
    judged = load.read_live_day(database, settings, day)
    kept = judged.selections[judged.selections["symbol"] == followed["symbol"]]
    assert kept[["strategy", "timeframe", "parameters"]].to_dict("records") == [
        {name: followed[name] for name in ("strategy", "timeframe", "parameters")}
    ]
    assert judged.reselected == {HOUR: frozenset({followed["symbol"]})}
    database.close()
    account.close()
