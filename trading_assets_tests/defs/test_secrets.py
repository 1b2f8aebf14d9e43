"""After runs full of errors key, secret and signatures are nowhere: not in a file, a log, an event or a page.

The jobs run with keys from the environment on an exchange that fails in every way it can, on an instance that keeps
everything on disk. Then each byte below the home directory, and all that was printed or logged, is searched.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from click.testing import CliRunner

from trading_assets.accounts import master_keys
from trading_assets.cli.doctor import examine
from trading_assets.cli.main import cli
from trading_assets.core.models import ContractKind, Instrument
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, floor_ms
from trading_assets.definitions import build_definitions
from trading_assets.defs.instance.concurrency_groups import ACCOUNT_TAG
from trading_assets.defs.resources import runtime
from trading_assets.exchange import connection, transport
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import signals, switches
from trading_assets.ledger.database import Database
from trading_assets.simulator.auth import Credentials
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets.trading.decide.sizing import stops
from trading_assets.venues import open_exchange

KEY, SECRET = "k3yThatNobodyMaySee", "s3cretThatNobodyMaySeeEither"

NAMED_KEY, NAMED_SECRET = "k3yOfTheNamedAccount", "s3cretOfTheNamedAccount"
"""Keys of an account that are in the ledger, sealed."""

ECHO = f"error sign! origin_string[1700000000000{KEY}5000category=linear]"
"""Bybit's own text for a wrong signature."""

BAD_DAYS: dict[str, dict[str, Any]] = {
    "a rejected signature": {"where": "/v5/*", "ret_code": 10004, "ret_msg": ECHO},
    "an order refused with the key in its text": {"where": "POST /v5/order/create", "ret_code": 10001, "ret_msg": ECHO},
    "server errors": {"where": "/v5/*", "http_status": 502, "body": f"<html>bad gateway for {KEY}</html>"},
    "lost answers": {"where": "POST /v5/*", "lost_answer": True},
    "timeouts": {"where": "/v5/*", "lost_request": True},
    "a time out of window": {"where": "/v5/*", "ret_code": 10002, "ret_msg": ECHO},
    "a ban": {"where": "/v5/*", "ban_s": 0.1},
}


@dataclass
class Scene:
    """An installation: its home, its exchange, and all signatures that it ever sent."""

    home: Path
    running: RunningExchange
    instance: dg.DagsterInstance
    url: str
    definitions: dg.Definitions = field(default_factory=build_definitions)
    signatures: set[str] = field(default_factory=set)
    tracebacks: list[str] = field(default_factory=list)
    failed_runs: int = 0

    def fails(self, rule: dict[str, Any]) -> None:
        self.running.faults.add(parse_rules(rule, ENDPOINTS), self.running.now_ms())

    def run(self, job: str, partition: str | None = None, account: str = "main") -> None:
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, partition_key=partition, tags={ACCOUNT_TAG: account}
        )
        self.failed_runs += not result.success


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    home = tmp_path / "home"
    for name, value in {
        "TRADING_ASSETS_HOME": home,
        "TRADING_ASSETS_VENUE": "demo",
        "TRADING_ASSETS_LIMITS_DIR": home / "limits",
        "TRADING_ASSETS_REQUEST_TIMEOUT_S": "0.4",
        "TRADING_ASSETS_TRADE_MODE": "once",
        "BYBIT_API_KEY": KEY,
        "BYBIT_API_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, str(value))
    (home / "dagster").mkdir(parents=True)
    with (
        serve_in_thread(ServeConfig(symbols=5, credentials=Credentials(KEY, SECRET))) as running,
        dg.DagsterInstance.local_temp(str(home / "dagster")) as instance,
    ):
        found = Scene(home, running, instance, running.url)
        # Demo trading, but here; pauses between attempts are not what is tested.
        monkeypatch.setattr(connection, "Connection", lambda **given: Connection(**{**given, "url": found.url}))
        monkeypatch.setattr(transport, "Transport", functools.partial(Transport, sleep=lambda _seconds: None))
        send = requests.Session.send

        def listening(session: requests.Session, request: requests.PreparedRequest, **given: Any) -> requests.Response:
            found.signatures.add(str(request.headers.get("X-BAPI-SIGN", "")))
            return send(session, request, **given)

        monkeypatch.setattr(requests.Session, "send", listening)
        yield found


def put_signal(database: Database, instrument: Instrument, price: float, now_ms: int, number: int) -> None:
    """A waiting signal at the price of now."""
    closed = floor_ms(now_ms, MINUTE_MS)
    entry = Decimal(str(price))
    levels = stops(entry, entry / 20, Decimal(2), long=True, tick=instrument.tick_size)
    assert levels is not None
    row: dict[str, object] = {
        "signal_id": f"main:{instrument.symbol}:1m:bollinger_rsi:{closed}-{number}",
        "hour_ms": floor_ms(now_ms, HOUR_MS) - HOUR_MS,
        "account": "main",
        "symbol": instrument.symbol,
        "timeframe": "1m",
        "strategy": "bollinger_rsi",
        "parameters": "{}",
        "signal_timestamp_ms": closed,
        "ttl_ms": now_ms + 300_000,
        "confidence": 70.0,
        "position_type": "LONG",
        "entry_price": price,
        "stop_loss": float(levels[0]),
        "take_profit": float(levels[1]),
        "position_size": 100.0,
        "leverage": 10.0,
        "risk_reward_ratio": 2.0,
        "status": "active",
        "created_at_ms": now_ms,
    }
    assert signals.insert(database, row)


def search(secrets: set[str], home: Path, told: str) -> dict[str, list[str]]:
    """Where each secret is found: files below the home, and what was told."""
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    found = {}
    for secret in secrets:
        places = [str(path.relative_to(home)) for path, content in files.items() if secret.encode() in content]
        places += ["told"] if secret in told else []
        if places:
            found[secret] = places
    return found


@pytest.mark.slow
def test_nothing_secret_is_left_after_runs_full_of_errors(
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    # The venue's own log names the rule that gave its text.
    caplog.set_level(logging.ERROR, logger="trading_assets.simulator")
    master = tmp_path / "keys" / "master"
    master_keys.put_first(master)
    monkeypatch.setenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM", f"file:{master}")
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    switches.set_switch(database, settings.account, on=True, actor="a person", reason="", wall_ms=0)
    exchange = open_exchange(settings)
    perpetuals = [i for i in exchange.instruments() if i.settle_coin == "USDT" and i.kind is ContractKind.PERPETUAL]
    prices = {symbol: float(ticker.last) for symbol, ticker in exchange.tickers().items()}

    def bad_day(number: int) -> None:
        instrument = perpetuals[number % len(perpetuals)]
        put_signal(database, instrument, prices[instrument.symbol], exchange.now_ms(), number)
        scene.run("reconcile")
        scene.run("trade")
        runtime._exchange.cache_clear()
        for call in (
            lambda: open_exchange(settings).wallet(),
            lambda: runtime.ExchangeResource().account().positions(),
        ):
            _note_traceback(call, scene)

    bad_day(0)
    assert scene.failed_runs == 0 and exchange.positions(), "on a good day all is well"
    scene.url = "http://127.0.0.1:9"  # the network is off
    runtime._exchange.cache_clear()
    bad_day(len(BAD_DAYS) + 1)
    scene.url = scene.running.url
    for number, rule in enumerate(BAD_DAYS.values(), 1):
        runtime.ExchangeResource().account()
        scene.fails(rule)
        bad_day(number)
        scene.running.faults.remove()
    scene.run("research", "2026-03-02-01:00")
    given = f"{NAMED_KEY}\n{NAMED_SECRET}\n"
    added = CliRunner().invoke(cli, ["accounts", "add", "second", "--venue", "demo", "--untested"], input=given)
    assert added.exit_code == 0, added.output
    switches.set_switch(database, "second", on=True, actor="a person", reason="", wall_ms=0)
    _note_traceback(lambda: runtime.ExchangeResource().account("second"), scene)
    scene.run("reconcile", account="second")
    told = [added.output, *(finding.found for finding in examine(settings))]
    assert any("accounts test second" in text for text in told), "its keys were opened, and the venue asked"
    commands = ("settings", "doctor", "status", "accounts list", "accounts show second", "accounts test second")
    told += [CliRunner().invoke(cli, command.split()).output for command in commands]
    database.close()
    assert scene.failed_runs >= 6 and len(scene.tracebacks) >= 7, "these were bad days"
    assert len(scene.signatures) > 50

    printed = capfd.readouterr()
    logged = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    everything = "\n".join([*told, *scene.tracebacks, printed.out, printed.err, logged])
    assert "(key)" in everything, "Bybit's echo of the key was told, without the key"
    held = b"".join(path.read_bytes() for path in scene.home.rglob("*") if path.is_file())
    assert b"trade_executed" in held or "trade_executed" in everything
    assert b"STEP_FAILURE" in held, "Dagster's events are on disk"
    secrets = {KEY, SECRET, NAMED_KEY, NAMED_SECRET, master.read_text().strip(), *scene.signatures}
    assert search(secrets - {""}, scene.home, everything) == {}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "event.log").write_bytes(b"\x00payload " + SECRET.encode())
    assert search({KEY, SECRET}, tmp_path, f"so {KEY} it was") == {SECRET: ["deep/event.log"], KEY: ["told"]}


def _note_traceback(call: Callable[[], object], scene: Scene) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 (whatever it is, its text is searched)
        scene.tracebacks.append("".join(traceback.format_exception(error)))
