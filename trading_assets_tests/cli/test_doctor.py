"""The checklist: with everything in order each point is ok, and what is wrong with each is found, with what to do."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest

from trading_assets.cli import doctor
from trading_assets.cli.doctor import CHECKS, Finding, Level, dagster_instance, examine, machine
from trading_assets.cli.doctor import exchange as exchange_checks
from trading_assets.cli.doctor import ledger as ledger_checks
from trading_assets.core import memory
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.models import ApiKeyInfo, MarginMode, PositionMode, Side
from trading_assets.core.schemas import MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import as_of_ms, local_ms
from trading_assets.ledger import checks, dca, grids, sealing, switches, troubles
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.ledger.grids import Grid
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.risk import RiskState
from trading_assets.trading import halt_file, home_mark
from trading_assets.trading.binding import require_bound
from trading_assets.trading.grid.laying import columns_of, rows_of
from trading_assets.trading.grid.levels import build
from trading_assets.trading.risk import guard
from trading_assets.trading.session import registry
from trading_assets_tests.fakes import FakeExchange, an_instrument
from trading_assets_tests.ledger.test_sealing import DAY, NEXT, write
from trading_assets_tests.market.sources import T0
from trading_assets_tests.trading.grid.stage import A_PLAN

GOOD_KEY = ApiKeyInfo(read_only=False, may_withdraw=False, addresses=("192.0.2.1",), expires_ms=None)


class Venue(FakeExchange):
    """An exchange with a key and a clock."""

    def __init__(self) -> None:
        super().__init__("BTCUSDT")
        self.key: ApiKeyInfo = GOOD_KEY
        self.offset_ms, self.time_ms = 12, local_ms()

    def api_key(self) -> ApiKeyInfo:
        return self.key

    def clock_offset_ms(self) -> int:
        return self.offset_ms


class Installation:
    """What a check looks at, and ways to spoil it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stack: ExitStack, folder: Path, dagster_home: Path) -> None:
        self.monkeypatch, self.stack, self.folder = monkeypatch, stack, folder
        self.exchange = Venue()
        self.home = folder / "home"
        monkeypatch.chdir(folder)
        for module in (doctor, exchange_checks, ledger_checks):
            monkeypatch.setattr(module, "open_exchange", lambda _settings: self.exchange)
        self.differences = ("orders are kept 7 days", False)
        monkeypatch.setattr(exchange_checks, "told_differences", lambda _settings: self.differences)
        for name, value in {
            "HOME": self.home,
            "VENUE": "demo",
            "LIMITS_DIR": folder / "limits",
            "NOTIFY_URLS": '["json://127.0.0.1:9"]',
            "UI_URL": "http://127.0.0.1:9",
        }.items():
            self.set(f"TRADING_ASSETS_{name}", value)
        shutil.copytree(dagster_home, folder / "dagster")
        (folder / "dagster" / ".trading_assets").rename(folder / ".trading_assets")
        self.dagster_yaml = folder / "dagster" / "dagster.yaml"
        self.set("DAGSTER_HOME", folder / "dagster")
        with self.ledger() as database:
            require_bound(database, self.exchange, load_settings())
            switches.set_switch(database, "main", on=True, actor="a", reason="r", wall_ms=1)

    def set(self, name: str, value: object) -> None:
        self.monkeypatch.setenv(name, str(value))

    @contextmanager
    def ledger(self) -> Iterator[Database]:
        database = Database(load_settings().resolved_database_url)
        try:
            yield database
        finally:
            database.close()

    def findings(self) -> dict[str, Finding]:
        return {one.what: one for one in examine(load_settings(lenient=True))}


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dagster_home: Path) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(monkeypatch, stack, tmp_path, dagster_home)


def unguarded_server(one: Installation) -> None:
    class Any(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Any)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    one.stack.callback(server.server_close)
    one.stack.callback(server.shutdown)
    one.set("TRADING_ASSETS_UI_URL", f"http://127.0.0.1:{server.server_port}")


def named_file(one: Installation) -> None:
    (one.folder / "settings.env").write_text("")
    one.set("TRADING_ASSETS_CONFIG", one.folder / "settings.env")


def a_file_in_the_way(one: Installation) -> None:
    (one.folder / "file").write_text("")
    one.set("TRADING_ASSETS_HOME", one.folder / "file" / "home")


def readable_by_others_and_not_ours(one: Installation) -> None:
    (one.home / "candles").mkdir()
    (one.home / "candles").chmod(0o755)
    one.monkeypatch.setattr(machine, "make_private", lambda _path: False)


def a_link_in_place_of_the_counters(one: Installation) -> None:
    (one.folder / "elsewhere").mkdir()
    (one.folder / "limits").symlink_to(one.folder / "elsewhere")


def a_small_container(one: Installation) -> None:
    one.monkeypatch.setattr(machine, "limit_mb", lambda: (900.0, "the cgroup"))


def rows_of_another_account(one: Installation) -> None:
    one.exchange.shape = replace(one.exchange.shape, user_id="8")


def switched_off(one: Installation) -> None:
    with one.ledger() as database:
        switches.set_switch(database, "main", on=False, actor="ann", reason="holiday", wall_ms=2)


def halted(one: Installation) -> None:
    with one.ledger() as database:
        guard.command(database, "main", RiskState.HALTED, reason="look", actor="ann", now_ms=local_ms())


def another_home(one: Installation) -> None:
    with one.ledger() as database:
        home_mark.require_home(database, load_settings())
    (one.home / home_mark.NAME).write_text("another")


def a_stuck_run(one: Installation) -> None:
    with one.ledger() as database:
        troubles.note(database, "main", "end_stuck_runs", "a run is stuck", local_ms())


def a_halt_file(one: Installation) -> None:
    halt_file.write(load_settings(), reason="storm", actor="ann", wall_ms=local_ms())


def a_session_elsewhere(one: Installation) -> None:
    other = load_settings(home=one.folder / "other")
    database = Database(other.resolved_database_url)
    one.stack.callback(database.close)
    one.stack.enter_context(registry.registered(other, database, "run-1"))


def a_blocked_grid(one: Installation) -> None:
    grid = Grid(
        grid_id="main:BTCUSDT:1", account="main", symbol="BTCUSDT", **columns_of(A_PLAN), state=grids.BLOCKED,
        reason="the exchange holds more", closes=True, wanted=None, generation=1, worst_value=Decimal(1000),
        profit_before=Decimal(0), differs_since_wall_ms=None, told=None, read_ms=T0, mark_price=None, created_ms=T0,
        updated_ms=T0,
    )  # fmt: skip
    with one.ledger() as database, database.write() as connection:
        grids.add(connection, grid, rows_of(grid, build(A_PLAN, Decimal(100_000), an_instrument("BTCUSDT"))))


def a_blocked_plan(one: Installation) -> None:
    plan = PlanRow(
        plan_id="main:BTCUSDT:dca:1", account="main", symbol="BTCUSDT", side=Side.BUY, schedule="every 1d",
        anchor_ms=T0, amount=Decimal(20), max_deployed=Decimal(200), leverage=Decimal(1), stop_pct=Decimal(10),
        stop_price=None, target_pct=None, safety_orders=0, safety_step_pct=Decimal(0), safety_scale=Decimal(1),
        missed="skip", grace_s=60, after_target="end", end_ms=None, state=dca.BLOCKED, reason="somebody traded",
        closes=False, decided_ms=T0, hands_seen=0, resumed_ms=T0, differs_since_wall_ms=None,
        bare_since_wall_ms=None, told=None, read_ms=T0, mark_price=None, created_ms=T0, updated_ms=T0,
    )  # fmt: skip
    with one.ledger() as database, database.write() as connection:
        dca.add(connection, plan)


def a_file_of_results_that_is_gone(_: Installation) -> None:
    database = Database.of(load_settings())
    write(database, [DAY, NEXT], "1m")
    sealing.seal(database, NEXT, local_ms)
    database.close()
    (sealed,) = (load_settings().home / "results").glob("*/*.parquet")
    sealed.unlink()


def a_blocked_hour(one: Installation) -> None:
    row = dict.fromkeys(MARKET_SCAN.columns, 1) | {"hour_ms": T0, "symbol": "AUSDT", "timestamp_ms": as_of_ms(T0)}
    with one.ledger() as database:
        replace_partitions(database, MARKET_SCAN, pd.DataFrame([row | {"scan_id": "scan-20260101-010000"}]), [T0])
        checks.record(database, [Verdict("market_scan", "SCHEMA", False, "3 rows")], [T0], "r")


def an_hour_without_a_coin(one: Installation) -> None:
    written = Write("strategy_selections", "r", "5", 0)
    with one.ledger() as database:
        replace_partitions(database, STRATEGY_SELECTIONS, STRATEGY_SELECTIONS.empty(), [T0], written=written)


def no_answer(one: Installation) -> None:
    one.exchange.fail("wallet", ExchangeUnavailableError("no answer; look at the network"), times=99)


def a_clock_that_is_wrong(one: Installation) -> None:
    one.exchange.offset_ms = -600_000


def a_key(**changes: object) -> Callable[[Installation], None]:
    def spoil(one: Installation) -> None:
        one.exchange.key = replace(GOOD_KEY, **changes)  # type: ignore[arg-type]

    return spoil


def a_shape(**changes: object) -> Callable[[Installation], None]:
    def spoil(one: Installation) -> None:
        one.exchange.shape = replace(one.exchange.shape, **changes)  # type: ignore[arg-type]

    return spoil


def a_venue_that_has_changed(one: Installation) -> None:
    one.differences = ("demo answers otherwise than docs/venues.md says: get_fee_rates; tell the project", True)


def setting(name: str, value: object) -> Callable[[Installation], None]:
    return lambda one: one.set(name, value)


def a_store_without_credentials(one: Installation) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        one.monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        one.monkeypatch.setenv(name, str(one.folder / "none"))
    one.monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    one.monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    one.set("TRADING_ASSETS_STORE_URL", "s3://bucket/prefix")


def in_dagster_yaml(old: str, new: str) -> Callable[[Installation], None]:
    def spoil(one: Installation) -> None:
        text = one.dagster_yaml.read_text()
        assert old in text
        one.dagster_yaml.write_text(text.replace(old, new))

    return spoil


NO, SEE, OK = Level.FAULT, Level.ADVICE, Level.OK

BAD: list[tuple[str, Callable[[Installation], None], Level, str]] = [
    ("file", named_file, OK, "named by TRADING_ASSETS_CONFIG"),
    ("settings", setting("TRADING_ASSETS_VENEU", "demo"), NO, "did you mean TRADING_ASSETS_VENUE?"),
    ("settings", setting("TRADING_ASSETS_MAX_POSITIONS", "lots"), NO, "TRADING_ASSETS_MAX_POSITIONS"),
    ("venue", setting("TRADING_ASSETS_ACCOUNT", "second"), OK, "demo, account second, no real money"),
    ("notifications", setting("TRADING_ASSETS_NOTIFY_URLS", "[]"), SEE, "TRADING_ASSETS_NOTIFY_URLS"),
    ("commands by chat", setting("TRADING_ASSETS_TELEGRAM_TOKEN", "1:x"), NO, "TRADING_ASSETS_TELEGRAM_USERS"),
    ("home directory", a_file_in_the_way, NO, "TRADING_ASSETS_HOME"),
    ("store", a_store_without_credentials, NO, "credentials"),
    ("rights of files", readable_by_others_and_not_ours, NO, "chmod -R go-rwx"),
    ("request counters", a_link_in_place_of_the_counters, NO, "TRADING_ASSETS_LIMITS_DIR"),
    ("memory", a_small_container, SEE, "0.9 GB by the cgroup"),
    ("database", setting("TRADING_ASSETS_DATABASE_URL", "postgresql://a:b@127.0.0.1:9/x"), NO, "cannot be used"),
    ("books", rows_of_another_account, NO, "account number 8"),
    ("trading", switched_off, SEE, "trading-assets trading on"),
    ("risk guard", halted, SEE, "trading-assets resume"),
    ("file HALTED", a_halt_file, SEE, "trading-assets resume"),
    ("sessions", a_session_elsewhere, SEE, "do not reach them"),
    ("grids", a_blocked_grid, SEE, "trading-assets grid resume BTCUSDT, or grid stop"),
    ("DCA plans", a_blocked_plan, SEE, "somebody traded; then trading-assets dca resume BTCUSDT, or dca stop"),
    ("research", a_blocked_hour, NO, "is blocked"),
    ("research", an_hour_without_a_coin, SEE, "selected no coin: no new signal before the next selection"),
    ("results", a_file_of_results_that_is_gone, NO, "put back the folder of results"),
    ("exchange", no_answer, NO, "look at the network"),
    ("clock", a_clock_that_is_wrong, NO, "NTP"),
    ("API key", a_key(read_only=True), NO, "create one with read-write access"),
    ("API key", a_key(may_withdraw=True), SEE, "take that permission away"),
    ("API key", a_key(addresses=()), SEE, "restrict it to yours"),
    ("API key", a_key(expires_ms=1), NO, "create a new one"),
    ("venue's differences", a_venue_that_has_changed, SEE, "tell the project"),
    ("account", a_shape(position_mode=PositionMode.HEDGE), NO, "accounts prepare"),
    ("account", a_shape(margin_mode=MarginMode.ISOLATED), SEE, "accounts prepare"),
    (
        "instance",
        in_dagster_yaml("run_monitoring:\n  enabled: true", "run_monitoring:\n  enabled: false"),
        NO,
        "dead runs",
    ),
    ("instance", in_dagster_yaml("trading_assets.defs.instance.storage", "dagster.x"), NO, "the guard"),
    ("instance", lambda one: one.monkeypatch.delenv("DAGSTER_HOME"), SEE, "DAGSTER_HOME="),
    ("installation", another_home, NO, "adopt-home"),
    ("message broker", setting("TRADING_ASSETS_BROKER_URL", "amqp://127.0.0.1:9//"), NO, "start it, or mend"),
    ("schedules and sensors", a_stuck_run, NO, "a run is stuck"),
    ("automation", setting("TRADING_ASSETS_AUTOMATION", "on"), OK, "unless they are switched off"),
    ("web server", unguarded_server, NO, "trading-assets web"),
]


def test_in_order_every_point_is_ok_and_no_point_has_no_bad_case(installation: Installation) -> None:
    found = installation.findings()
    assert {what: one.found for what, one in found.items() if one.level is not OK} == {}
    named = [what for checks_of_group in CHECKS.values() for what in checks_of_group]
    assert named == list(found)
    without = {"settle coins", "token of the UI", "code locations"}  # two only tell; defs/instance/test_locations.py
    assert {what for what, *_ in BAD} == set(named) - without


@pytest.mark.slow
@pytest.mark.parametrize(("what", "spoil", "level", "says"), BAD, ids=[f"{row[0]}-{row[3]}" for row in BAD])
def test_what_is_wrong_is_found_and_says_what_to_do(
    installation: Installation, what: str, spoil: Callable[[Installation], None], level: Level, says: str
) -> None:
    spoil(installation)
    found = installation.findings()[what]
    assert (found.level, says in found.found) == (level, True), found


def test_with_real_money_the_token_is_asked_for(installation: Installation) -> None:
    installation.set("TRADING_ASSETS_VENUE", "mainnet")
    installation.set("TRADING_ASSETS_ALLOW_MAINNET", "true")
    found = installation.findings()
    assert "REAL MONEY" in found["venue"].found and "--show-token" in found["token of the UI"].found


def test_a_broker_that_takes_us_is_ok(installation: Installation, broker_url: str) -> None:
    installation.set("TRADING_ASSETS_BROKER_URL", broker_url)
    found = installation.findings()["message broker"]
    assert found.level is OK and found.found.startswith("answers at "), found


def test_a_broker_that_does_not_know_us_is_found_and_the_password_is_not_shown(
    installation: Installation, broker_url: str
) -> None:
    port = urlsplit(broker_url).port
    installation.set("TRADING_ASSETS_BROKER_URL", f"amqp://guest:not-it-77@{urlsplit(broker_url).hostname}:{port}//")
    found = installation.findings()["message broker"]
    assert found.level is NO and "mend user, password" in found.found, found
    assert "not-it-77" not in found.found


def test_what_listens_and_is_no_broker_is_found(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dagster_instance, "_BROKER_WAIT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        installation.set("TRADING_ASSETS_BROKER_URL", f"amqp://u:hidden-9@127.0.0.1:{silent.getsockname()[1]}//")
        found = installation.findings()["message broker"]
    assert found.level is NO and "does not take us" in found.found, found
    assert "hidden-9" not in found.found


def test_the_limit_of_memory_is_the_least_of_machine_groups_and_user(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "a" / "b").mkdir(parents=True)
    (root / "memory" / "c").mkdir(parents=True)
    (root / "a" / "b" / "memory.max").write_text("max\n")
    (root / "a" / "memory.max").write_text("2000000000\n")
    (root / "memory" / "c" / "memory.limit_in_bytes").write_text("1000000000\n")
    own.write_text("5:memory:/c\n4:cpu:/d\n0::/a/b\n")
    assert sorted(memory._cgroup_limits(root, own)) == [1_000_000_000, 2_000_000_000]
    assert list(memory._cgroup_limits(root, tmp_path / "none")) == []
    limit, who = memory.limit_mb()
    assert limit > 100 and who
