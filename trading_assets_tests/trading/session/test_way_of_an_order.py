"""One order's way, from the closed candle to the closed position, as lines of the log and spans of a real process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from trading_assets.chaos.session_process import IS_TRADING, start_session
from trading_assets.chaos.signal_source import EAGER, selection_row
from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, floor_ms
from trading_assets.core.trace import trace_id_of
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.venues import open_exchange
from trading_assets_tests.otlp import Collector, collecting
from trading_assets_tests.trading.fixtures import NO_PAUSES, start_strategy

START = 1_772_427_640_000
SYMBOL = "SOLUSDT"
WITHIN_S = 120.0
SECRETS = {
    "TRADING_ASSETS_TELEGRAM_TOKEN": "123456:hidden-token-of-the-bot",
    "TRADING_ASSETS_UI_TOKEN": "hidden-token-of-the-user-interface",
    "BYBIT_API_KEY": "hidden-key-1",
    "BYBIT_API_SECRET": "hidden-secret-2",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20hidden-token-of-the-collector",
}


@dataclass(frozen=True)
class Told:
    """What a process has told of one order: lines of its log, spans, and all that it wrote."""

    signal_id: str
    lines: list[dict[str, Any]]
    all_lines: list[str]
    collector: Collector

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.signal_id)


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("session")
    config = ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=START))
    with pytest.MonkeyPatch.context() as patch, serve_in_thread(config) as running, collecting() as collector:
        (folder / "empty.env").touch()
        own = {"simulator_url": running.url, "min_signal_interval_s": 0, "home": folder, **NO_PAUSES}
        own |= {"log_format": "json", "config": folder / "empty.env"}
        for name, value in own.items():
            patch.setenv(f"TRADING_ASSETS_{name.upper()}", str(value))
        settings = load_settings()
        database = Database(settings.resolved_database_url)
        start_strategy(database)
        hour = floor_ms(START, HOUR_MS) - HOUR_MS
        rows = [selection_row(hour, SYMBOL, parameters=EAGER)]
        replace_partitions(database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour])
        exchange = open_exchange(settings)
        session = start_session(folder, {**os.environ, **SECRETS, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
        log = folder / "session.log"
        try:
            until(lambda: session.says(IS_TRADING) or session.process.poll() is not None)
            for _ in range(20):
                now = running.now_ms()
                running.advance(floor_ms(now, MINUTE_MS) + MINUTE_MS + 100 - now)
                time.sleep(1)
                if orders.occupying(database, "main"):
                    break
            position = until(lambda: exchange.position(SYMBOL))
            until(lambda: "trade_executed" in log.read_text())
            side = Side.SELL if position.side is Side.BUY else Side.BUY
            exchange.place_order(OrderRequest(SYMBOL, side, position.size, "by-another-hand", reduce_only=True))
            until(lambda: "position_closed" in log.read_text())
        finally:
            session.stop()
            exchange.close()
        with database.read() as connection:
            (intent,) = orders.by_links(connection, "main", _links(log)).values()
        database.close()
        lines = [line for line in log.read_text().splitlines() if line]
        yield Told(intent.signal_id, [json.loads(line) for line in lines], lines, collector)


def _links(log: Path) -> list[str]:
    told = [json.loads(line) for line in log.read_text().splitlines()]
    return [line["order_link_id"] for line in told if line.get("event") == "trade_executed"][:1]


@pytest.mark.slow
def test_lines_with_one_id_tell_the_way_from_the_candle_to_the_closed_position(told: Told) -> None:
    lines = [line for line in told.lines if line.get("trace_id") == told.trace_id]
    events = [line["event"] for line in lines if "event" in line]
    way = ["signal_found", "order_reserved", "order_sent", "order_submitted", "order_filled", "trade_executed"]
    assert events == [*way, "position_closed"]
    first, last = lines[0], lines[-1]
    assert {line["symbol"] for line in lines} == {SYMBOL} and {line["account"] for line in lines} == {"main"}
    assert first["candle_closed"].endswith(":00Z") and first["strategy"] == "bollinger_rsi"
    assert first["run_id"] == "session-process"
    assert {line["order_link_id"] for line in lines[1:-1]} == {lines[1]["order_link_id"]}
    assert lines[3]["order_id"] == lines[4]["order_id"] == lines[5]["order_id"]
    assert last["order_id"] != lines[5]["order_id"] and float(last["pnl"]) != 0
    assert [line["timestamp"] for line in told.lines] == sorted(line["timestamp"] for line in told.lines)
    assert {line["service"] for line in told.lines} == {"session"}


@pytest.mark.slow
def test_one_trace_has_every_step_below_the_span_of_the_whole_trade(told: Told) -> None:
    spans = told.collector.of(told.trace_id)
    steps = ["reserve", "leverage", "create", "acknowledge", "confirm", "protect", "record"]
    assert set(spans) == {"trade", "decide", *(f"order.{step}" for step in steps)}
    root = spans.pop("trade")
    assert not root.parent_span_id
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    began = [spans[f"order.{step}"].start_time_unix_nano for step in steps]
    assert began == sorted(began)
    ends = spans["order.record"].end_time_unix_nano
    assert root.start_time_unix_nano < began[0] and root.end_time_unix_nano >= ends
    names = {attribute.key for span in spans.values() for attribute in span.attributes}
    assert names <= {
        *("account", "symbol", "timeframe", "strategy", "side", "qty", "signal_id", "order_link_id", "order_id")
    }


@pytest.mark.slow
def test_no_secret_is_in_a_line_or_a_span(told: Told) -> None:
    assert told.collector.bodies and "hidden-token-of-the-collector" in "".join(told.collector.headers)
    assert "hidden" not in "".join(told.all_lines)
    assert not any(b"hidden" in body for body in told.collector.bodies)
