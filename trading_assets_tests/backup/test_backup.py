"""A home is backed up while it trades, lost, and restored: positions are ours, protected, and nothing is doubled."""

from __future__ import annotations

import json
import random
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from trading_assets.backup import restoring
from trading_assets.backup.create import back_up
from trading_assets.backup.manifest import opened
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.signal_source import give_signal
from trading_assets.chaos.trial_settings import OPEN_GATES
from trading_assets.cli.main import cli
from trading_assets.core.configuration import PREFIX
from trading_assets.core.errors import StorageError
from trading_assets.core.models import ContractKind, ContractStatus
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, local_ms
from trading_assets.history.library import Library
from trading_assets.ledger import leases, migrations, orders, sealing, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import entry_signals, order_intents, risk_states
from trading_assets.ledger.tables import leases as lease_table
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading import halt_file
from trading_assets.trading.context import ExecutionContext, trading_lease
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.saga.steps import RECOVER_AFTER_MS
from trading_assets.trading.session import registry
from trading_assets.venues import open_exchange
from trading_assets_tests.history import made
from trading_assets_tests.ledger.test_sealing import HOURS, NEXT, everything, write

DEPOSIT = Decimal(1_000_000)
COINS = 14
PASSWORD, TOKEN = "pass-word-of-nobody", "tgram://123456789:secret-of-a-bot/1"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, either_ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A home with open gates; its ledger on either engine."""
    if either_ledger == "postgresql":
        request.getfixturevalue("postgres_database").close()
    monkeypatch.setenv(f"{PREFIX}HOME", str(tmp_path / "home"))
    for name, value in {**OPEN_GATES, "simulator_deposit": DEPOSIT, "simulator_symbols": COINS}.items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", str(value))
    monkeypatch.setenv(f"{PREFIX}NOTIFY_URLS", json.dumps([TOKEN]))
    return load_settings()


@contextmanager
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """The embedded exchange with its account in a directory, and the connector."""
    with serve_in_thread(ServeConfig(home=home, symbols=COINS, deposit=DEPOSIT)) as running:
        monkeypatch.setenv(f"{PREFIX}SIMULATOR_URL", running.url)
        exchange = open_exchange(load_settings())
        try:
            yield exchange
        finally:
            exchange.close()


class Trader:
    """Signals and their orders, on one ledger and exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.settings = load_settings()
        self.exchange = exchange
        self.database = Database(self.settings.resolved_database_url)
        seed_registry(self.database)
        self._chance = random.Random(5)
        self.coins = sorted(
            (
                row
                for row in exchange.instruments()
                if row.kind is ContractKind.PERPETUAL
                and row.status is ContractStatus.TRADING
                and row.settle_coin == "USDT"
            ),
            key=lambda row: row.symbol,
        )

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(self.database, self.exchange, self.settings)

    def give(self, *at: int) -> list[str]:
        return [give_signal(self.database, self.exchange, self.coins[one], self.settings, self._chance) for one in at]

    def status(self, signal: str) -> str:
        with self.database.read() as connection:
            return str(
                connection.execute(
                    sa.select(entry_signals.c.status).where(entry_signals.c.signal_id == signal)
                ).scalar_one()
            )

    def close(self) -> None:
        self.database.close()


def lose(settings: Settings) -> None:
    """The home is gone, and what the database server had."""
    shutil.rmtree(settings.home, ignore_errors=True)
    database = Database(settings.resolved_database_url, upgrade=False)
    if database.dialect == "postgresql":
        with database.write() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    database.close()


def state(database: Database) -> RiskState:
    return in_force(read_history(database, "main"), local_ms()).state


@pytest.mark.slow
def test_what_was_open_is_ours_and_protected_after_a_restore_and_what_was_sent_since_is_not_sent_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path / "venue", monkeypatch) as exchange:
        trader = Trader(exchange)
        before = trader.give(0, 1)
        submit_orders(trader.context)
        (waits,) = trader.give(2)
        path = back_up(load_settings(), tmp_path / "backup.zip")
        trader.give(3)
        submit_orders(trader.context)
        assert trader.status(waits) == signals.EXECUTED
        held = {each.symbol: each.size for each in exchange.positions()}
        assert len(held) == 4
        trader.close()
        lose(settings)

        done = run("restore", str(path))
        assert done.exit_code == 0, done.output
        assert "HALTED" in done.output and "1 waiting signals are rejected" in done.output

        trader = Trader(exchange)
        assert state(trader.database) is RiskState.HALTED
        assert trader.status(waits) == signals.REJECTED
        assert run("resume", "looked").exit_code == 0
        reconcile(trader.context)
        submit_orders(trader.context)
        report = reconcile(trader.context)
        assert {each.symbol: each.size for each in exchange.positions()} == held, "nothing was doubled"
        assert all(each.stop_loss is not None for each in exchange.positions())
        ours = {str(intent.symbol) for intent in orders.occupying(trader.database, "main")}
        assert ours == {trader.coins[0].symbol, trader.coins[1].symbol}
        assert [trader.status(one) for one in before] == [signals.EXECUTED] * 2
        told = " ".join(text for _, text in report.differences)
        assert trader.coins[2].symbol in told and trader.coins[3].symbol in told
        trader.close()


@pytest.mark.slow
def test_a_backup_made_while_orders_are_sent_is_of_one_moment(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    with served(settings.simulator_home, monkeypatch) as exchange:
        since_ms = exchange.now_ms() - HOUR_MS
        trader, ended = Trader(exchange), threading.Event()

        def trade() -> None:
            for at in range(len(trader.coins)):
                trader.give(at)
                submit_orders(trader.context)
                if at % 3 == 2:
                    reconcile(trader.context)
            ended.set()

        thread = threading.Thread(target=trade)
        thread.start()
        while not ended.is_set():
            paths.append(back_up(load_settings(), tmp_path / f"{len(paths)}.zip"))
        thread.join()
        trader.close()
    assert len(paths) > 2
    for at in {1, len(paths) // 2, len(paths) - 1}:
        lose(settings)
        done = run("restore", str(paths[at]))
        assert done.exit_code == 0, done.output
        with served(settings.simulator_home, monkeypatch) as exchange:
            trader = Trader(exchange)
            # So late that nobody works any more on an order that was being sent at the moment of the backup.
            reconcile(replace(trader.context, wall_ms=lambda: local_ms() + 2 * RECOVER_AFTER_MS))
            found = compare_all(trader.database, exchange, "main", since_ms, DEPOSIT)
            assert found.broken == []
            assert all(each.stop_loss is not None for each in exchange.positions())
            trader.close()


def with_rows(settings: Settings) -> None:
    """A ledger that says something, some candles, and no exchange."""
    database = Database(settings.resolved_database_url)
    seed_registry(database)
    database.close()
    candles = settings.candle_store / "BTCUSDT" / "5m"
    candles.mkdir(parents=True)
    (candles / "0.parquet").write_bytes(b"candles" * 1000)
    (candles / ".writing-1").write_bytes(b"half")


def contents(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, and the files of candles."""
    database = Database(settings.resolved_database_url, upgrade=False)
    with database.read() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        found = {
            name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for name, table in tables.tables.items()
            if name not in (risk_states.name, lease_table.name)
        }
    database.close()
    files = sorted(path for path in (settings.home / "candles").rglob("*") if path.is_file())
    return found | {"": [(path.name, path.read_bytes()) for path in files if not path.name.startswith(".")]}


@pytest.mark.slow
def test_a_restored_home_says_what_the_lost_one_did_and_numbers_go_on(settings: Settings, tmp_path: Path) -> None:
    with_rows(settings)
    database = Database(settings.resolved_database_url)

    def add(reason: str) -> None:
        change = {"state": "HALTED", "cause": "command", "reason": reason, "actor": "a", "time_ms": 1}
        with database.write() as connection:
            connection.execute(sa.insert(risk_states).values(account="main", **change))

    add("one"), add("two")
    database.close()
    before = contents(settings)
    assert (
        run(
            "backup",
            str(tmp_path / "b.zip"),
        ).exit_code
        == 0
    )
    assert run("restore", "--check", str(tmp_path / "b.zip")).exit_code == 0
    lose(settings)
    done = run("restore", str(tmp_path / "b.zip"))
    assert done.exit_code == 0, done.output
    assert contents(settings) == before
    database = Database(settings.resolved_database_url)
    with pytest.raises(StorageError, match="append-only"), database.write() as connection:
        connection.execute(sa.delete(risk_states))
    add("three")
    with database.read() as connection:
        rows = connection.execute(sa.select(risk_states.c.state_id, risk_states.c.reason).order_by("state_id"))
        assert [tuple(row) for row in rows] == [(1, "one"), (2, "two"), (3, "three")]
    database.close()
    assert (settings.home.stat().st_mode & 0o777, (tmp_path / "b.zip").stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.slow
def test_sealed_results_are_in_a_backup_and_are_read_after_it(settings: Settings, tmp_path: Path) -> None:
    database = Database.of(settings)
    write(database, [*HOURS, NEXT], "1m")
    assert sealing.seal(database, NEXT, local_ms).rows == 30
    before = everything(database)
    database.close()
    path = back_up(settings, tmp_path / "b.zip", candles=False)
    lose(settings)
    assert run("restore", str(path)).exit_code == 0
    database = Database.of(settings)
    pd.testing.assert_frame_equal(everything(database), before, check_exact=True)
    database.close()


def test_the_library_of_history_is_in_a_backup_where_it_was_asked_for(settings: Settings, tmp_path: Path) -> None:
    Database.of(settings).close()
    held, library = made.candles(), Library(settings.home / "history")
    made.imported(tmp_path, made.binance_klines(tmp_path, held), library=library)
    name, spans = library.prepare(), library.spans()
    assert len(spans) == 1
    with library.locked(), pytest.raises(StorageError, match="another import writes"):
        back_up(settings, tmp_path / "refused.zip", history=True)
    assert not list(tmp_path.glob("refused*"))
    done = run("backup", "--with-history", str(tmp_path / "b.zip"))
    assert done.exit_code == 0 and "files of imported history" in done.output and "not in it" not in done.output
    made.imported(tmp_path, made.binance_klines(tmp_path, held, name="ETHUSDT-1m-2024-03.zip"), library=library)
    lose(settings)
    assert run("restore", "--check", str(tmp_path / "b.zip")).exit_code == 0
    assert run("restore", str(tmp_path / "b.zip")).exit_code == 0
    assert (library.prepare(), library.spans()) == (name, spans)
    found = library.read("BTCUSDT", Timeframe.M1, 0, made.WALL)
    assert found.close.tolist() == held.close.tolist()


@pytest.mark.slow
def test_a_backup_of_an_older_revision_is_brought_forward(settings: Settings, tmp_path: Path) -> None:
    database = Database(settings.resolved_database_url)
    older = migrations.revisions()[-2]
    with database.write() as connection:
        migrations.downgrade(connection, older)
    database.close()
    path = back_up(settings, tmp_path / "older.zip")
    with opened(path) as (_, manifest):
        assert manifest.revision == older
    lose(settings)
    assert run("restore", str(path)).exit_code == 0
    database = Database(settings.resolved_database_url, upgrade=False)
    with database.read() as connection:
        assert migrations.revision_of(connection) == migrations.HEAD
    database.close()


@pytest.mark.slow
def test_what_is_there_is_kept_aside_and_only_when_asked(settings: Settings, tmp_path: Path) -> None:
    with_rows(settings)
    path = back_up(settings, tmp_path / "b.zip")
    (settings.candle_store / "BTCUSDT" / "5m" / "0.parquet").write_bytes(b"newer")
    before = contents(settings)
    refused = run("restore", str(path))
    assert isinstance(refused.exception, StorageError) and "--replace" in str(refused.exception)
    assert contents(settings) == before
    done = run("restore", "--replace", str(path))
    assert done.exit_code == 0, done.output
    assert contents(settings) != before
    assert len(list(settings.home.glob("candles.replaced-*"))) == 1
    database = Database(settings.resolved_database_url)
    if database.dialect == "postgresql":
        with database.read() as connection:
            (aside,) = [one for one in sa.inspect(connection).get_schema_names() if one.startswith("replaced_")]
            assert connection.exec_driver_sql(f'SELECT count(*) FROM "{aside}".strategies').scalar_one() > 0
    else:
        assert len(list(settings.home.glob("trading_assets.db.replaced-*Z"))) == 1
    database.close()


def test_a_restore_that_dies_before_the_ledger_is_halted_opens_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_rows(settings)
    path = back_up(settings, tmp_path / "b.zip")
    lose(settings)

    def dies(*_given: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_halt", dies)
        assert str(run("restore", str(path)).exception) == "killed"
    assert halt_file.found(settings) is not None
    assert run("restore", "--replace", str(path)).exit_code == 0
    assert halt_file.found(settings) is not None


def test_a_restore_that_changes_nothing_halts_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_rows(settings)
    path = back_up(settings, tmp_path / "b.zip")
    lose(settings)

    def fails(_target: object) -> list[str]:
        raise OSError("no room")

    monkeypatch.setattr(restoring._Target, "put_in_place", fails)
    assert isinstance(run("restore", str(path)).exception, StorageError)
    assert halt_file.found(settings) is None


def test_a_home_in_use_is_not_replaced(settings: Settings, tmp_path: Path) -> None:
    with_rows(settings)
    path = back_up(settings, tmp_path / "b.zip")
    database = Database(settings.resolved_database_url)
    with registry.registered(settings, database, "run-1"):
        refused = run("restore", "--replace", str(path))
        assert "a session lives" in str(refused.exception)
    lease = leases.acquire(database, trading_lease("main"), "far:1", ttl_ms=60_000, wall_ms=local_ms())
    assert lease is not None
    refused = run("restore", "--replace", str(path))
    assert "far:1 trades account main" in str(refused.exception)
    leases.release(database, lease)
    database.close()
    if database.dialect == "postgresql":
        other = Database(settings.resolved_database_url)
        with other.read() as connection:
            connection.exec_driver_sql("SELECT 1")
            refused = run("restore", "--replace", str(path))
        other.close()
        assert "connected to the database" in str(refused.exception)
    assert run("restore", "--replace", str(path)).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("cut", "no whole backup"),
        ("changed", "not what was written"),
        ("missing", "not whole"),
        ("outside", "cannot name a file"),
        ("no manifest", "is no backup"),
        ("newer", "install the version"),
        ("other storage", "expected the same kind"),
    ],
)
def test_a_damaged_or_foreign_backup_changes_nothing(settings: Settings, tmp_path: Path, fault: str, says: str) -> None:
    with_rows(settings)
    path = back_up(settings, tmp_path / "b.zip")
    _spoil(path, fault)
    before = contents(settings)
    refused = run("restore", "--replace", str(path))
    assert refused.exit_code != 0 and says in str(refused.exception), refused.output
    assert contents(settings) == before
    assert not [path for path in settings.home.rglob("*") if ".restoring" in path.name or "replaced" in path.name]


def _spoil(path: Path, fault: str) -> None:
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-100])
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["manifest.json"])
    candles = next(name for name in parts if name.endswith(".parquet"))
    if fault == "changed":
        parts[candles] = parts[candles][::-1]
    elif fault == "missing":
        del parts[candles]
    elif fault == "outside":
        parts["candles/../../../etc/x"] = parts.pop(candles)
        manifest["parts"]["candles/../../../etc/x"] = manifest["parts"].pop(candles)
    elif fault == "newer":
        manifest["format"] = 99
    elif fault == "other storage":
        manifest["storage"] = {"sqlite": "postgresql", "postgresql": "sqlite"}[manifest["storage"]]
    parts["manifest.json"] = json.dumps(manifest).encode()
    if fault == "no manifest":
        del parts["manifest.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_no_secret_is_in_a_backup_and_each_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", "key-of-nobody")
    monkeypatch.setenv("BYBIT_API_SECRET", PASSWORD)
    with_rows(load_settings())
    path = back_up(load_settings(), tmp_path / "b.zip")
    with zipfile.ZipFile(path) as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    for secret in ("key-of-nobody", PASSWORD, TOKEN, "secret-of-a-bot"):
        assert secret.encode() not in text
    with opened(path) as (_, manifest):
        assert {"BYBIT_API_KEY", "BYBIT_API_SECRET", "TRADING_ASSETS_NOTIFY_URLS"} <= set(manifest.secrets)
        assert manifest.settings["TRADING_ASSETS_MAX_POSITIONS"] == "100"
    for name in ("BYBIT_API_KEY", "BYBIT_API_SECRET", "TRADING_ASSETS_MAX_POSITIONS"):
        monkeypatch.delenv(name)
    done = run("restore", "--replace", str(path))
    assert "secret: BYBIT_API_KEY was set" in done.output
    assert "TRADING_ASSETS_MAX_POSITIONS was 100, it is at its default" in done.output


def test_a_backup_never_writes_over_a_file_and_names_itself_in_a_directory(settings: Settings, tmp_path: Path) -> None:
    with_rows(settings)
    (tmp_path / "there").write_text("precious")
    refused = run("backup", str(tmp_path / "there"))
    assert "is there already" in str(refused.exception) and (tmp_path / "there").read_text() == "precious"
    folder = tmp_path / "folder"
    folder.mkdir()
    (settings.home / "history").mkdir()
    (settings.home / "history" / "index.sqlite3").write_bytes(bytes(2_000_000))
    done = run("backup", "--no-candles", str(folder))
    assert done.exit_code == 0, done.output
    (path,) = folder.iterdir()
    assert path.name.startswith("trading-assets-simulator-main-") and str(path) in done.output
    with opened(path) as (_, manifest):
        assert manifest.below("candles") == [] and not any("history" in name for name in manifest.parts)
    assert (
        f"not in it: the library of imported history, 1 files of 2.0 MB in {settings.home / 'history'}" in done.output
    )
    assert order_intents.name in manifest.columns or manifest.storage == "sqlite"
