"""Settings and flags that change while the system runs: what is refused, what goes before what, and the history."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.accounts import changing, effective, registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.flags import Flag, Flags, checked, place_of
from trading_assets.core.setting_changes import Change, change_of
from trading_assets.core.settings import SECRET_SETTINGS, Settings, load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import live_changes
from trading_assets.ledger.database import Database
from trading_assets.ledger.live_changes import ALL, ChangeKind, Entry
from trading_assets_tests.ledger.test_orders import reserve
from trading_assets_tests.trading.fixtures import add_signal


def put(database: Database, name: str, text: str | None, account: str = ALL) -> changing.Changed:
    return changing.set_setting(
        database, load_settings(), name, text, account=account, actor="a test", reason="why not"
    )


def turn(database: Database, name: str, text: str | None, account: str = ALL) -> changing.Changed:
    return changing.set_flag(database, load_settings(), name, text, account=account, actor="a test", reason="why not")


def held(database: Database, account: str = "") -> Settings:
    return effective.settings_of(database, load_settings(), account)


@pytest.fixture
def two(database: Database) -> Database:
    """A ledger with an account besides that of the settings."""
    wanted = AccountDraft("second", "simulator", None, {}, {"max_positions": "3"})
    registry.add(database, load_settings(), wanted, actor="a test", reason="a second one")
    return database


@pytest.mark.slow
def test_later_layers_go_before_earlier_ones(two: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(two).position_size == 100
    monkeypatch.setenv("TRADING_ASSETS_POSITION_SIZE", "90")
    assert held(two).position_size == 90
    put(two, "position_size", "80")
    assert held(two).position_size == held(two, "second").position_size == 80
    put(two, "position_size", "70", "second")
    assert (held(two).position_size, held(two, "second").position_size) == (80, 70)
    found = changing.layers_of(two, load_settings(), "position_size", "second")
    assert found.default == 100 and found.given == 90 and found.given_by == "environment, TRADING_ASSETS_POSITION_SIZE"
    assert found.common is not None and found.common.value == "80" and found.in_force == 70
    assert found.source == f"ledger, of the account (version {held(two).version})"
    put(two, "position_size", None, "second")
    put(two, "position_size", None)
    assert held(two, "second").position_size == 90
    assert (held(two).max_positions, held(two, "second").max_positions) == (10, 3)


def test_the_history_says_who_why_and_when(two: Database) -> None:
    put(two, "max_positions", "5", "second")
    done = put(two, "max_positions", "4", "second")
    assert put(two, "max_positions", "4", "second").version == done.version, "what is said already is not said again"
    newest = live_changes.history(two, ChangeKind.SETTING, "max_positions", "second", 9)
    assert [(one.value, one.actor, one.reason) for one in newest] == [
        ("4", "a test", "why not"),
        ("5", "a test", "why not"),
        ("3", "a test", "a second one"),
    ]
    assert held(two, "second").version == done.version == newest[0].version
    with pytest.raises(StorageError, match="append-only"), two.write() as connection:
        connection.exec_driver_sql("DELETE FROM live_changes")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("venue", "demo", "whose account"),
        ("home", "/tmp", "whose account"),
        ("automation", "on", "when they start"),
        ("api_key", "x", "is a secret"),
        ("notify_urls", "[]", "is a secret"),
        ("max_positons", "3", "did you mean max_positions"),
        ("max_positions", "0", "greater than or equal to 1"),
        ("max_positions", "many", "MAX_POSITIONS"),
        ("strategies", "hyperrsi", "no JSON"),
    ],
)
def test_what_must_not_change_is_refused_with_the_reason(database: Database, name: str, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        put(database, name, text)
    assert held(database).version == 0


def test_research_is_of_all_accounts(two: Database) -> None:
    with pytest.raises(ConfigurationError, match="all accounts share"):
        put(two, "min_trades", "9", "second")
    put(two, "min_trades", "9")
    assert effective.common_settings(two, load_settings()).min_trades == 9
    with pytest.raises(ConfigurationError, match="no account 'secnd', did you mean 'second'"):
        put(two, "max_positions", "2", "secnd")


def test_leverage_changes_only_while_nothing_of_the_account_is_open(two: Database) -> None:
    signal = add_signal(two, "SOLUSDT", account="second", signal_id="of-the-second")
    assert reserve(two, signal, account="second", symbol="SOLUSDT")
    with pytest.raises(ConfigurationError, match=r"only while nothing is open.*'second' has SOLUSDT"):
        put(two, "leverage", "5", "second")
    with pytest.raises(ConfigurationError, match="'second' has SOLUSDT"):
        put(two, "leverage", "5")
    put(two, "leverage", "5", "main")
    assert (held(two).leverage, held(two, "second").leverage) == (5, 10)


def test_a_value_of_another_version_does_not_stop_the_system(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    put(database, "max_positions", "4")
    told = ("a test", "by hand", local_ms())
    with database.write() as connection:
        live_changes.add(
            connection,
            Entry(ChangeKind.SETTING, ALL, "position_size", "-3", *told),
            Entry(ChangeKind.SETTING, ALL, "venue", "mainnet", *told),
            Entry(ChangeKind.SETTING, ALL, "gone_since", "1", *told),
            Entry(ChangeKind.FLAG, ALL, "entries", "maybe", *told),
            Entry(ChangeKind.FLAG, ALL, "gone_since", "on", *told),
        )
    now = held(database)
    assert (now.max_positions, now.position_size, now.venue.value) == (4, 100, "simulator")
    assert now.flags.is_on(Flag.ENTRIES, "SOLUSDT")
    assert "POSITION_SIZE" in caplog.text and "gone_since" in caplog.text


def test_every_setting_says_when_it_changes_and_no_secret_changes_live() -> None:
    changes = {name: change_of(field) for name, field in Settings.model_fields.items()}
    assert {changes[name] for name in SECRET_SETTINGS} == {Change.RESTART}
    assert {name for name, change in changes.items() if change is Change.FLAT} == {
        "sizing",
        "leverage",
        "maintenance_margin_pct",
    }
    assert all(changes[name] is Change.RESTART for name in ("venue", "home", "account", "allow_mainnet", "secrets"))
    assert all(changes[name] is Change.LIVE for name in changes if name.startswith("max_") and "exposure" in name)


def test_flags_off_for_all_goes_first_then_the_account_then_the_part(two: Database) -> None:
    def on(account: str = "") -> bool:
        return held(two, account).flags.is_on(Flag.ENTRIES, "SOLUSDT")

    assert on() and on("second")
    turn(two, "entries", "off", "second")
    assert on() and not on("second")
    turn(two, "entries", "off")
    turn(two, "entries", "on", "second")
    assert not on() and not on("second")
    turn(two, "entries", f"{place_of(Flag.ENTRIES, 'SOLUSDT')}%")
    assert not on() and on("second")
    turn(two, "entries", f"{place_of(Flag.ENTRIES, 'SOLUSDT') + 1}")
    assert on()
    turn(two, "entries", None)
    assert on()
    for name, value in (("entires", "on"), ("entries", "101"), ("entries", "-1"), ("entries", "yes")):
        with pytest.raises(ConfigurationError):
            turn(two, name, value)


@pytest.mark.slow
@given(st.text(min_size=1, max_size=12), st.integers(0, 100), st.integers(0, 100))
def test_a_larger_part_has_every_symbol_of_a_smaller_one(symbol: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    flags = [Flags({Flag.ENTRIES: checked(str(part))}) for part in (small, large)]
    assert flags[0].is_on(Flag.ENTRIES, symbol) <= flags[1].is_on(Flag.ENTRIES, symbol)


def test_the_part_is_the_same_in_every_process() -> None:
    code = "from trading_assets.core.flags import *; print(place_of(Flag.ENTRIES, 'SOLUSDT'))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert told == {str(place_of(Flag.ENTRIES, "SOLUSDT"))}


def test_two_people_at_once_lose_no_change(database: Database) -> None:
    names = ["max_positions", "signal_ttl_s", "min_signal_interval_s", "cooldown_after_stop_s"]
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for value in range(1, 6):
                put(database, name, str(value))
        except BaseException as error:  # noqa: BLE001 (looked at below)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    now = held(database)
    assert now.version == 20 and [getattr(now, name) for name in names] == [5] * 4


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_the_commands() -> None:
    done = run("config", "set", "max_positions", "7", "--reason", "fewer at once")
    assert done.exit_code == 0 and "10 -> 7, version 1" in done.output
    one = run("config", "get", "max_positions").output
    assert "max_positions = 7" in one and "fewer at once" in one and "default: 10" in one
    assert "ledger, of all" in run("config", "get").output
    assert "fewer at once" in run("config", "history").output
    refused = run("config", "set", "venue", "demo")
    assert refused.exit_code == 1 and "does not change while the system runs" in str(refused.exception)
    assert run("config", "set", "max_positions").exit_code == 2
    assert "7 -> 10" in run("config", "set", "max_positions", "--unset").output
    assert run("flags", "set", "short_entries", "25%", "--reason", "a trial").exit_code == 0
    shown = run("flags", "get", "--symbol", "SOLUSDT").output
    assert "25%" in shown and "place" in shown
    assert "a trial" in run("flags", "history").output
