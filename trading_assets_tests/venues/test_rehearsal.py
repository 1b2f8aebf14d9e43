"""The rehearsal at an embedded exchange that behaves like each of Bybit's venues: it finds what there is, and leaves
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings, load_settings
from trading_assets.exchange.venue_profiles import PROFILES, VenueProfile
from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets.venues import bybit, open_exchange
from trading_assets.venues.behaviour import behaviour_of
from trading_assets.venues.rehearsal import cleaning, steps
from trading_assets.venues.rehearsal.cleaning import NOTE, clean, leftover
from trading_assets.venues.rehearsal.plan import plan
from trading_assets.venues.rehearsal.report import RehearsalReport, Row
from trading_assets.venues.rehearsal.steps import rehearse

CANDLE_STREAM = "candle stream"
VENUES = tuple(PROFILES.values())


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "TRADING_ASSETS_HOME": tmp_path / "home",
        "TRADING_ASSETS_LIMITS_DIR": tmp_path / "limits",
        "BYBIT_API_KEY": DEFAULT_API_KEY,
        "BYBIT_API_SECRET": DEFAULT_API_SECRET,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


@contextmanager
def served_as(profile: VenueProfile, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    """The venue of this profile is an embedded exchange that behaves like it."""
    with serve_in_thread(ServeConfig(symbols=6, behaviour=behaviour_of(profile))) as running:
        name = profile.name.upper()
        monkeypatch.setattr(bybit, name, replace(getattr(bybit, name), url=running.url))
        monkeypatch.setenv("TRADING_ASSETS_VENUE", profile.name)
        monkeypatch.setenv("TRADING_ASSETS_ALLOW_MAINNET", "true" if profile.name == "mainnet" else "false")
        yield running


def go(exchange: Exchange, settings: Settings, tell: Callable[[Row], None] = lambda row: None) -> RehearsalReport:
    """Without waiting for the end of a minute."""
    return rehearse(exchange, settings, plan(exchange, settings, None), tell, candle_within_s=0)


def found(report: RehearsalReport) -> dict[str, Row]:
    return {row.step: row for row in report.rows}


def failed(report: RehearsalReport) -> list[str]:
    return [row.step for row in report.rows if not row.ok and row.step != CANDLE_STREAM]


def is_clean(running: RunningExchange, settings: Settings) -> bool:
    state = running.venue.engine.state
    return not state.open_positions() and not state.open_orders and not (settings.home / NOTE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("profile", VENUES, ids=lambda profile: profile.name)
def test_each_venue_is_as_its_row_of_the_table_says(profile: VenueProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    with served_as(profile, monkeypatch) as running:
        settings = load_settings()
        exchange = open_exchange(settings)
        report = go(exchange, settings)
        assert failed(report) == []
        rows = found(report)
        assert list(rows)[-1] == "nothing is left"
        assert ("does not tell" in rows["API key"].found) is ("get_api_key_information" in profile.missing)
        assert ("does not tell" in rows["fees"].found) is ("get_fee_rates" in profile.missing)
        assert rows["same order again"].found.startswith("refused (110072)")
        assert is_clean(running, settings)


STEPS = ("leverage", "order with stops", "position and its stops", "stops changed", "resting order", "close", "history")


class Stopped(BaseException):
    """As Ctrl-C is."""


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_it_ends_as_it_began_wherever_it_is_stopped(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with served_as(PROFILES["demo"], monkeypatch) as running:
        settings = load_settings()
        exchange = open_exchange(settings)

        def stop(row: Row) -> None:
            if row.step == step:
                raise Stopped

        with pytest.raises(Stopped):
            go(exchange, settings, stop)
        assert is_clean(running, settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"where": "POST /v5/position/trading-stop", "ret_code": 10016}, id="stops fail"),
        pytest.param({"where": "POST /v5/order/create", "calls": 1, "lost_answer": True}, id="answer lost"),
        pytest.param({"where": "POST /v5/order/create", "calls": 1, "ret_code": 110007}, id="no margin"),
        pytest.param({"where": "POST /v5/order/create", "calls": "2-4", "ret_code": 10016}, id="closing fails"),
        pytest.param({"where": "POST /v5/order/create", "calls": 1, "fill_parts": 20}, id="filled in parts"),
        pytest.param({"where": "GET /v5/position/closed-pnl", "ret_code": 10000, "times": 8}, id="history fails"),
    ],
)
def test_it_ends_as_it_began_whatever_fails(rule: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "WITHIN_S", 3.0)
    monkeypatch.setattr(cleaning, "IN_FLIGHT_MS", 500)
    with served_as(PROFILES["demo"], monkeypatch) as running:
        settings = load_settings()
        exchange = open_exchange(settings)
        running.faults.add(parse_rules(rule, ENDPOINTS), running.now_ms())
        report = go(exchange, settings)
        assert failed(report)
        assert report.left == ""
        assert is_clean(running, settings)


@pytest.mark.slow
def test_what_a_killed_one_has_left_is_taken_back_by_the_next_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_as(PROFILES["demo"], monkeypatch) as running:
        settings = load_settings()
        exchange = open_exchange(settings)
        with monkeypatch.context() as killed, pytest.raises(Stopped):
            killed.setattr(steps, "clean", lambda *_: "")
            go(exchange, settings, lambda row: (_ for _ in ()).throw(Stopped) if row.step == "stops changed" else None)
        (position,) = running.venue.engine.state.open_positions()
        assert leftover(settings) is not None
        # A person adds to the position meanwhile.
        exchange.place_order(OrderRequest(position.symbol, Side.BUY, position.size, "a-person"))
        with pytest.raises(ConfigurationError, match="--clean"):
            go(exchange, settings)
        assert clean(exchange, settings) == ""
        (left,) = running.venue.engine.state.open_positions()
        assert left.size == position.size
        assert leftover(settings) is None


@pytest.mark.slow
def test_the_leverage_is_as_before_also_after_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_as(PROFILES["demo"], monkeypatch) as running:
        settings = load_settings()
        exchange = open_exchange(settings)
        symbol = plan(exchange, settings, None).contract.symbol
        exchange.set_leverage(symbol, Decimal(3))
        state = running.venue.engine.state
        seen: list[Decimal] = []

        def look(row: Row) -> None:
            if row.step == "leverage":
                seen.append(state.look_up(symbol).leverage)

        report = go(exchange, settings, look)
        assert failed(report) == []
        assert seen == [settings.leverage] and state.look_up(symbol).leverage == 3
        assert "leverage 3" in found(report)["nothing is left"].found
        for step in ("leverage", "stops changed"):
            with monkeypatch.context() as killed, pytest.raises(Stopped):
                killed.setattr(steps, "clean", lambda *_: "")
                go(exchange, settings, lambda row, at=step: (_ for _ in ()).throw(Stopped) if row.step == at else None)
            assert state.look_up(symbol).leverage == settings.leverage
            assert clean(exchange, settings) == ""
            assert state.look_up(symbol).leverage == 3 and is_clean(running, settings)


def test_a_contract_in_which_something_is_open_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_as(PROFILES["testnet"], monkeypatch):
        settings = load_settings()
        exchange = open_exchange(settings)
        first = plan(exchange, settings, None)
        exchange.place_order(OrderRequest(first.contract.symbol, Side.BUY, first.qty, "a-person"))
        assert plan(exchange, settings, None).contract.symbol != first.contract.symbol
        with pytest.raises(ConfigurationError, match="is open in"):
            plan(exchange, settings, first.contract.symbol)
        with pytest.raises(ConfigurationError, match="is not traded here"):
            plan(exchange, settings, "NOSUCHUSDT")
        assert first.value < Decimal(200)


def test_real_money_is_named_by_the_settings_and_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    refused = runner.invoke(cli, ["rehearse", "--venue", "mainnet"])
    assert isinstance(refused.exception, ConfigurationError)
    assert "ALLOW_MAINNET" in str(refused.exception)
    with served_as(PROFILES["mainnet"], monkeypatch) as running:
        for typed in ("", "yes\n", "\n"):
            aborted = runner.invoke(cli, ["rehearse", "--yes"], input=typed)
            assert aborted.exit_code == 1
            assert not running.venue.engine.state.orders
        monkeypatch.setattr(steps, "CANDLE_WITHIN_S", 0)
        monkeypatch.setenv("TRADING_ASSETS_ALLOW_MAINNET", "false")
        assert isinstance(runner.invoke(cli, ["rehearse"]).exception, ConfigurationError)


@pytest.mark.slow
def test_a_named_account_is_rehearsed_with_its_own_keys_at_its_own_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "CANDLE_WITHIN_S", 0)
    runner = CliRunner()
    market = ServeConfig(symbols=6)
    with serve_in_thread(market) as main, serve_in_thread(market) as second:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", main.url)
        added = runner.invoke(
            cli, ["accounts", "add", "second", "--venue", "simulator", "--set", f"simulator_url={second.url}"]
        )
        assert added.exit_code == 0, added.output
        elsewhere = runner.invoke(cli, ["rehearse", "--account", "second", "--venue", "demo"])
        assert "is at simulator, not at demo" in str(elsewhere.exception)
        told = runner.invoke(cli, ["rehearse", "--account", "second", "--yes", "--json"])
        rows = {row["step"]: row["ok"] for row in json.loads(told.stdout.strip().splitlines()[-1])["rows"]}
        assert all(ok for step, ok in rows.items() if step != CANDLE_STREAM) and rows["nothing is left"]
        assert second.venue.engine.state.orders and not main.venue.engine.state.orders
        settings = load_settings()
        cleaning.take_note(settings.model_copy(update={"account": "second"}), "BTCUSDT", "a-run", None, order=False)
        refused = runner.invoke(cli, ["rehearse", "--clean"])
        assert "--account second --clean" in str(refused.exception)
        assert leftover(settings) is not None


@pytest.mark.slow
def test_the_command_prints_what_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_as(PROFILES["demo"], monkeypatch):
        done = CliRunner().invoke(cli, ["rehearse", "--yes", "--json"])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout.strip().splitlines()[-1])
        assert {row["step"] for row in told["rows"]} >= {CANDLE_STREAM, *STEPS}
        assert all(row["ok"] for row in told["rows"])
        assert CliRunner().invoke(cli, ["rehearse", "--clean"]).stdout.strip() == "nothing was left"
