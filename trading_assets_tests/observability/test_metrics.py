"""Metrics say what the ledger says, in a form that Prometheus reads, with few labels and never with old figures."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from click.testing import CliRunner
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from pydantic import SecretStr

from trading_assets.cli.main import cli
from trading_assets.core.counters import API_REQUESTS
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database
from trading_assets.ledger.process_reports import ProcessReport, add
from trading_assets.ledger.tables import order_intents
from trading_assets.observability.latencies import Histogram, OrderHistograms
from trading_assets.observability.metrics import PREFIX, registry
from trading_assets.observability.readings import MOST_GATES, totals
from trading_assets.service.monitor import monitor_server
from trading_assets.service.web_server import WebServer
from trading_assets.trading.dca.control import stop
from trading_assets_tests.trading.dca.stage import SYMBOL, D, stage_on
from trading_assets_tests.wild_account.scene import Scene

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def values(settings: Settings, database: Database) -> Values:
    """All samples, read back by the library's own parser."""
    text = openmetrics.generate_latest(registry(settings, lambda: database)).decode()
    return samples(parse_openmetrics(text))


def samples(families: Iterator[Metric]) -> Values:
    found: Values = {}
    for family in families:
        for one in family.samples:
            key = (one.name, tuple(sorted(one.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = one.value
    return found


def one(found: Values, name: str, **labels: str) -> float | None:
    """The value of the one sample with that name and these labels."""
    wanted = set(labels.items())
    matching = [value for (key, of), value in found.items() if key == name and wanted <= set(of)]
    assert len(matching) <= 1, f"{len(matching)} samples of {name} {labels}"
    return matching[0] if matching else None


@pytest.mark.slow
def test_they_are_what_the_ledger_has_before_and_after_trading(scene: Scene) -> None:
    before = values(scene.settings, scene.database)
    assert one(before, PREFIX + "ledger_up") == 1
    assert one(before, PREFIX + "equity_usd") is None and one(before, PREFIX + "open_positions") is None
    assert one(before, PREFIX + "risk_state", state="ACTIVE") == 1

    opened = scene.enter("BTCUSDT", "ETHUSDT")
    scene.passes(2)
    held = values(scene.settings, scene.database)
    assert one(held, PREFIX + "open_positions") == 2
    assert one(held, "active_positions", symbol="BTCUSDT", exchange="simulator") == 1
    assert one(held, "orders_created_total", symbol="ETHUSDT", side="Buy") == 1
    assert one(held, PREFIX + "signals_total", side="LONG") == 2
    assert one(held, PREFIX + "order_states_total", state="confirmed") == 2
    assert one(held, PREFIX + "candle_to_fill_seconds_count") == 2
    assert one(held, PREFIX + "slippage_basis_points_bucket", le="+Inf") == 2
    assert one(held, "order_creation_latency_seconds_bucket", le="5.0") == 2
    assert one(held, PREFIX + "equity_usd") == pytest.approx(float(scene.equities()[-1]))
    assert one(held, PREFIX + "unprotected_positions") == 0

    scene.close_by_hand("BTCUSDT")
    scene.passes(2)
    after = values(scene.settings, scene.database)
    assert one(after, PREFIX + "open_positions") == 1
    assert one(after, "active_positions", symbol="BTCUSDT") is None
    assert sum(value for (name, _), value in after.items() if name == PREFIX + "closings_total") == 1
    pnl = sum(float(row["pnl"]) for row in scene.closings(opened[0]))
    assert one(after, PREFIX + "realised_pnl_usd") == pytest.approx(pnl)
    fees = sum(float(row["fee"]) for row in scene.rows("SELECT fee FROM fills WHERE kind = 'trade'"))
    assert one(after, PREFIX + "fees_paid_usd") == pytest.approx(fees)


@pytest.mark.slow
def test_counters_never_fall_while_positions_open_and_close(scene: Scene) -> None:
    last: Values = {}
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        scene.enter(symbol)
        scene.passes(1)
        scene.close_by_hand(symbol)
        scene.passes(2)
        now = values(scene.settings, scene.database)
        for (name, labels), value in last.items():
            if name.endswith(("_total", "_bucket", "_count")):
                assert now[name, labels] >= value
        last = now


def test_a_ledger_that_cannot_be_read_has_no_figures(scene: Scene) -> None:
    scene.enter("BTCUSDT")
    scene.passes(1)

    def broken() -> Database:
        raise StorageError("the disk is gone")

    text = openmetrics.generate_latest(registry(scene.settings, broken)).decode()
    found = samples(parse_openmetrics(text))
    assert one(found, PREFIX + "ledger_up") == 0
    assert {name for name, _ in found} == {PREFIX + "ledger_up", PREFIX + "build_info"}


def test_processes_add_up_and_those_that_ended_still_count(database: Database) -> None:
    key = (API_REQUESTS, "place_order", "answered")
    add(database, ProcessReport("a", "main", "session", 1, 1, {key: 3.0}, {"looped_wall_ms": 7_000.0}))
    add(database, ProcessReport("b", "main", "reconcile", 1, 1, {key: 4.0}))
    add(database, ProcessReport("ended:main:session", "main", "session", 1, 1, {key: 5.0}))
    found = values(Settings(_env_file=None), database)
    assert one(found, PREFIX + "api_requests_total", endpoint="place_order", result="answered") == 12
    assert one(found, PREFIX + "processes", role="session") == 1
    assert one(found, PREFIX + "session_heartbeat_timestamp_seconds") == 7


@pytest.mark.slow
def test_labels_stay_few_with_six_hundred_coins_and_any_reason(scene: Scene) -> None:
    """Only what the sources name has a symbol; a histogram has none, and reasons are told by their gate."""
    chance = random.Random(3)
    signals = scene.enter("BTCUSDT")
    scene.passes(1)
    (intent,) = scene.rows("SELECT * FROM order_intents")
    (signal,) = scene.rows("SELECT * FROM entry_signals WHERE signal_id = :one", one=signals[0])
    with scene.database.write() as connection:
        for number in range(600):
            more = {"order_link_id": f"x{number}", "signal_id": f"x{number}", "symbol": f"C{number}USDT"}
            row = {**intent, **more, "open_slot": None, "status": "closed"}
            connection.exec_driver_sql(
                f"INSERT INTO order_intents ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            )
            gate = "".join(chance.choices("abcdefgh", k=9))
            row = {**signal, "signal_id": f"x{number}", "status": "rejected", "reason": f"{gate}: {number} of it"}
            connection.exec_driver_sql(
                f"INSERT INTO entry_signals ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            )
    found = values(scene.settings, scene.database)
    by_name: dict[str, int] = {}
    for name, _ in found:
        by_name[name] = by_name.get(name, 0) + 1
    of_symbols = by_name.pop("orders_created_total")
    assert 600 <= of_symbols <= 1200  # the sources' name has symbol and side
    assert by_name[PREFIX + "refusals_total"] <= MOST_GATES + 1
    assert max(by_name.values()) <= 80
    assert len(totals(scene.database).refusals) <= MOST_GATES + 1
    with scene.database.read() as connection:
        assert len(connection.execute(order_intents.select()).all()) == 601


@pytest.mark.slow
def test_an_order_is_observed_once_whenever_its_fill_is_booked(scene: Scene) -> None:
    histograms = OrderHistograms()
    scene.enter("BTCUSDT")
    histograms.update(scene.database)
    scene.passes(1)
    for _ in range(3):
        histograms.update(scene.database)
    assert histograms.stages["main", "whole"].counts and sum(histograms.stages["main", "whole"].counts) == 1
    scene.enter("ETHUSDT")
    scene.passes(1)
    histograms.update(scene.database)
    assert sum(histograms.stages["main", "whole"].counts) == 2


def test_a_histogram_counts_as_prometheus_does() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)] and histogram.sum == 104.0


@contextmanager
def served(database: Database, **changes: object) -> Iterator[WebServer]:
    server = monitor_server(Settings(_env_file=None, monitor_port=0, **changes), lambda: database)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert not server.is_up()


def test_it_is_served_in_the_format_that_is_asked_for(sqlite: Database) -> None:
    with served(sqlite) as server:
        plain = requests.get(f"{server.url}/metrics", timeout=30)
        assert plain.ok and one(samples(parse(plain.text)), PREFIX + "ledger_up") == 1
        accept = "application/openmetrics-text; version=1.0.0"
        newer = requests.get(f"{server.url}/metrics", headers={"Accept": accept}, timeout=30)
        assert newer.headers["content-type"].startswith("application/openmetrics-text")
        assert one(samples(parse_openmetrics(newer.text)), PREFIX + "ledger_up") == 1
        assert requests.post(f"{server.url}/metrics", timeout=30).status_code == 405


def test_no_foreign_page_reads_it_and_no_other_name(sqlite: Database) -> None:
    with served(sqlite) as server:

        def status(**headers: str) -> int:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return requests.get(f"{server.url}/metrics", headers=names, timeout=30).status_code

        assert status() == 200
        assert status(Host="attacker.example") == 421
        assert status(Origin="https://attacker.example") == 403
        assert status(Sec_Fetch_Site="cross-site") == 403


def test_other_machines_need_the_token(sqlite: Database) -> None:
    with pytest.raises(ConfigurationError, match="MONITOR_TOKEN"):
        monitor_server(Settings(_env_file=None, monitor_port=0, monitor_host="0.0.0.0"), lambda: sqlite)
    token = "a-token-of-more-than-twenty-letters"
    with served(sqlite, monitor_host="0.0.0.0", monitor_token=SecretStr(token)) as server:
        named = {"Host": "metrics.example"}
        assert requests.get(f"{server.url}/metrics", headers=named, timeout=30).status_code == 421
        bearer = {**named, "Authorization": f"Bearer {token}"}
        assert requests.get(f"{server.url}/metrics", headers=bearer, timeout=30).status_code == 200
        wrong = {**named, "Authorization": f"Bearer {token}x"}
        assert requests.get(f"{server.url}/metrics", headers=wrong, timeout=30).status_code == 421


def test_a_taken_port_is_told(sqlite: Database) -> None:
    with served(sqlite) as server, pytest.raises(ConfigurationError, match="cannot be listened at"):
        monitor_server(Settings(_env_file=None, monitor_port=server.port), lambda: sqlite)


def test_the_command_prints_those_that_are_asked_for() -> None:
    shown = CliRunner().invoke(cli, ["metrics", "show", "risk_state"])
    assert shown.exit_code == 0 and {name for name, _ in samples(parse(shown.output))} == {PREFIX + "risk_state"}
    newer = CliRunner().invoke(cli, ["metrics", "show", "--openmetrics"])
    assert newer.exit_code == 0 and newer.output.endswith("# EOF\n")
    assert samples(parse_openmetrics(newer.output))


@pytest.mark.slow
def test_grids_and_dca_plans_are_counted_by_state_order_and_scheduled_time(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(safety_orders=2, safety_step_pct=D(1))
        stage.after(2, steps=2)
        found = values(stage.context.settings, sqlite)
        labels = {"account": "main", "kind": "dca"}
        assert one(found, PREFIX + "plans", **labels, state="running") == 1
        assert one(found, PREFIX + "plan_orders_total", **labels, purpose="buy") == 3
        assert one(found, PREFIX + "plan_orders_total", **labels, purpose="safety") == 2
        assert one(found, PREFIX + "dca_times_total", account="main", outcome="filled") == 3
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        stage.after(1, steps=4)
        found = values(stage.context.settings, sqlite)
        assert not [name for name, _ in found if name == PREFIX + "plans"], "one that has ended is none"
        assert one(found, PREFIX + "dca_times_total", account="main", outcome="filled") == 3
