"""A session on the embedded exchange: a candle closes, an order follows; and what may go wrong between the two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.accounts import changing, effective
from trading_assets.chaos.session_process import select_coins
from trading_assets.chaos.signal_source import EAGER, selection_row
from trading_assets.core.errors import StorageError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, floor_ms
from trading_assets.ledger import dca, orders, risk, signals
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.tables import signal_evaluations
from trading_assets.market.store import CandleStore
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.control import start as start_plan
from trading_assets.trading.decide.finder import FinderReport
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session import entries, watchlist
from trading_assets.trading.session import lease as session_lease
from trading_assets.trading.session import session as session_module
from trading_assets.trading.session.candle_cache import CandleCache
from trading_assets.trading.session.lease import AccountTakenError, trader_of
from trading_assets.trading.session.log import Heartbeat, SessionMessage, SignalsFound
from trading_assets.trading.session.session import Session
from trading_assets.trading.session.watchlist import Selected, newest_selection
from trading_assets.venues import open_account_stream, open_candle_stream, open_exchange
from trading_assets_tests.trading.dca.stage import A_PLAN
from trading_assets_tests.trading.fixtures import NO_PAUSES, settings, start_strategy

START = 1_772_427_640_000
"""2026-03-02 05:00:40 UTC."""

SYMBOLS = ("SOLUSDT", "XRPUSDT", "DOGEUSDT")
WITHIN_S = 60.0


@dataclass(frozen=True)
class Verdict:
    passed: bool


class Stage:
    """An exchange, a ledger with a selection, and the sessions of a test."""

    def __init__(self, running: RunningExchange, folder: Path) -> None:
        self.running = running
        self.settings: Settings = settings(simulator_url=running.url, min_signal_interval_s=0, **NO_PAUSES)
        self.database = Database(f"sqlite:///{folder / 'ledger.db'}")
        start_strategy(self.database)
        self.store = CandleStore(folder / "candles")
        self.exchange: Exchange = open_exchange(self.settings)
        self.select()
        self.played: list[Play] = []

    def select(self, *symbols: str) -> Selected:
        """A selection of the hour before now; another set of symbols is another selection."""
        hour = floor_ms(START, HOUR_MS) - HOUR_MS
        rows = [selection_row(hour, symbol, parameters=EAGER) for symbol in symbols or SYMBOLS]
        replace_partitions(self.database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour])
        selected = newest_selection(self.database)
        assert selected is not None
        return selected

    def select_none(self) -> None:
        """The same hour again, without a coin."""
        hour = floor_ms(START, HOUR_MS) - HOUR_MS
        written = Write("strategy_selections", "run", "5", 0)
        replace_partitions(self.database, STRATEGY_SELECTIONS, STRATEGY_SELECTIONS.empty(), [hour], written=written)

    def play(self, run: str = "run-a", *, passes: bool = True) -> Play:
        self.played.append(Play(self, run, Verdict(passes)))
        return self.played[-1]

    def fault(self, **rule: Any) -> None:
        self.running.faults.add([FaultRule.model_validate(rule)], self.running.now_ms())

    def statuses(self) -> dict[str, list[str]]:
        """Signals by status: their symbols."""
        rows = signals.since(self.database, "main", 0)
        return {status: sorted(of["symbol"]) for status, of in rows.groupby("status")}

    def next_close(self) -> None:
        """Move the clock to a tenth of a second after the end of the minute."""
        now = self.running.now_ms()
        self.running.advance(floor_ms(now, MINUTE_MS) + MINUTE_MS + 100 - now)

    def clear(self) -> None:
        for play in self.played:
            play.stop()
        self.exchange.close()
        self.database.close()


class Play:
    """A session in a thread, as the op of the trade job runs it."""

    def __init__(self, stage: Stage, run: str, verdict: Verdict) -> None:
        selected = newest_selection(stage.database)
        assert selected is not None
        self.told: list[SessionMessage | SignalsFound | Heartbeat] = []
        self.session = Session(
            context=ExecutionContext(stage.database, stage.exchange, stage.settings),
            store=stage.store,
            selected=selected,
            run=run,
            make_stream=lambda topics, deliver: open_candle_stream(stage.settings, topics, deliver),
            check=lambda _rows: verdict,
            tell=self.told.append,
            make_account_stream=lambda deliver: open_account_stream(stage.settings, deliver),
            newest_settings=lambda: effective.settings_of(stage.database, stage.settings),
        )
        self.why = ""
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.why = self.session.run()
        except BaseException as error:  # noqa: BLE001 (looked at by the test)
            self.error = error

    def end(self) -> str:
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        return self.why

    def stop(self) -> str:
        self.session.stop()
        return self.end()

    def says(self, text: str) -> bool:
        return any(text in one.text for one in self.told if isinstance(one, SessionMessage))

    @property
    def is_trading(self) -> bool:
        return self.says("trading: ")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    config = ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=START))
    with serve_in_thread(config) as running:
        one = Stage(running, tmp_path)
        yield one
        one.clear()


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_lease, "RENEW_EVERY_S", 0.05)


@pytest.mark.slow
def test_an_order_with_its_stop_follows_each_candle_once(stage: Stage) -> None:
    play = stage.play()
    until(lambda: play.is_trading)
    for _ in range(4):
        stage.next_close()
        until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
    assert play.stop() == "stopped"
    executed = stage.statuses().get(signals.EXECUTED, [])
    positions = {position.symbol: position for position in stage.exchange.positions()}
    now_ms = stage.exchange.now_ms()
    ended = {row.symbol for row in stage.exchange.closed_pnl(now_ms - HOUR_MS, now_ms + 1)}
    twice = {symbol for symbol in executed if executed.count(symbol) > 1}
    assert executed and twice <= ended, "no symbol was entered twice while its position was open"
    assert positions and set(positions) | ended == set(executed), "some may have reached their stop"
    assert all(position.stop_loss is not None for position in positions.values())
    found = [one for one in play.told if isinstance(one, SignalsFound)]
    assert sum(len(one.rows) for one in found) == len(signals.since(stage.database, "main", 0))
    pulses = [one for one in play.told if isinstance(one, Heartbeat)]
    assert sum(pulse.closes for pulse in pulses) >= 4 * len(SYMBOLS)
    assert sum(pulse.by_rest for pulse in pulses) == 0, "the stream brought every candle"
    assert trader_of(stage.database, "main", wall_ms=time.time_ns() // 1_000_000) is None


def _decided(play: Play, stage: Stage) -> list[str]:
    """Coins that were decided at the newest close."""
    close = floor_ms(stage.running.now_ms(), MINUTE_MS)
    return [str(one.row["symbol"]) for one in play.session._watchlist.coins if one.decided_ms == close]


@pytest.mark.slow
def test_a_candle_that_the_stream_does_not_bring_is_read_by_rest(stage: Stage) -> None:
    play = stage.play()
    until(lambda: play.is_trading)
    stage.fault(where="ws:kline.*", silence=True)
    stage.next_close()
    until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
    play.stop()
    assert sum(one.by_rest for one in play.told if isinstance(one, Heartbeat)) >= len(SYMBOLS)


@pytest.mark.slow
def test_a_stream_that_keeps_owing_candles_is_rebuilt(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchlist, "LATE_AFTER_S", 0.2)
    play = stage.play()
    until(lambda: play.is_trading)
    stage.fault(where="ws:kline.1.XRPUSDT", silence=True, until_ms=150_000)
    for _ in range(3):
        stage.next_close()
        until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
    until(lambda: play.session._stream.counts.connections == 2)
    play.stop()


@pytest.mark.slow
def test_a_session_hands_over_to_the_one_of_the_next_selection(stage: Stage, quick_leases: None) -> None:
    old = stage.play("run-a")
    until(lambda: old.is_trading)
    stage.select(*SYMBOLS[:2])
    new = stage.play("run-b")
    assert "handed over to run run-b" in old.end()
    until(lambda: new.is_trading)
    stage.next_close()
    until(lambda: len(_decided(new, stage)) == 2)
    assert new.stop() == "stopped" and old.error is None


@pytest.mark.slow
def test_a_session_of_an_hour_that_chose_no_coin_takes_over_and_opens_nothing(stage: Stage, quick_leases: None) -> None:
    old = stage.play("run-a")
    until(lambda: old.is_trading)
    stage.select_none()
    new = stage.play("run-b")
    assert "handed over to run run-b" in old.end()
    until(lambda: new.is_trading)
    assert new.says("selected no coin: no new signal, what is open is looked after")
    before = set(signals.since(stage.database, "main", 0)["signal_id"])
    for _ in range(2):
        stage.next_close()
        until(lambda: new.session._clock.now_ms() >= stage.running.now_ms())
    until(lambda: new.session._feed.is_up)
    assert new.stop() == "stopped" and new.error is None
    found = set(signals.since(stage.database, "main", 0)["signal_id"])
    assert found == before and _decided(new, stage) == []


@pytest.mark.slow
def test_of_two_sessions_on_one_selection_one_says_why_it_does_not_trade(stage: Stage, quick_leases: None) -> None:
    first = stage.play("run-a")
    until(lambda: first.is_trading)
    second = stage.play("run-b")
    second.end()
    assert isinstance(second.error, AccountTakenError)
    assert "run run-a trades account main on the same selection" in str(second.error)
    assert first.stop() == "stopped"


def test_signals_that_break_their_schema_are_rejected_and_never_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = signals.insert_new

    def broken(database: Database, rows: Sequence[Mapping[str, object]], **more: Any) -> set[str]:
        return real(database, [{**row, "confidence": 180.0} for row in rows], **more)

    monkeypatch.setattr(signals, "insert_new", broken)
    play = stage.play(passes=False)
    until(lambda: play.is_trading)
    stage.next_close()
    until(lambda: play.says("broke its schema: no order was sent"))
    play.stop()
    assert set(stage.statuses()) == {signals.REJECTED}
    assert not stage.exchange.positions()


@pytest.mark.slow
def test_what_the_full_check_alone_refuses_is_the_last_that_was_sent(stage: Stage) -> None:
    play = stage.play(passes=False)
    until(lambda: play.is_trading)
    stage.next_close()
    until(lambda: play.says("this session sends nothing more"))
    sent = set(stage.exchange.positions())
    before = len(signals.since(stage.database, "main", 0))
    for symbol in SYMBOLS:
        held = stage.exchange.position(symbol)
        if held is not None:
            order = OrderRequest(symbol, held.side.opposite, held.size, f"by-hand-{symbol}", reduce_only=True)
            stage.exchange.place_order(order)
    until(lambda: not orders.occupying(stage.database, "main"))
    for _ in range(3):
        stage.next_close()
        until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
    play.stop()
    assert sent and len(signals.since(stage.database, "main", 0)) > before
    assert not stage.exchange.positions(), "nothing was sent after it"


@pytest.mark.slow
def test_nothing_is_opened_before_the_books_were_compared(stage: Stage) -> None:
    stage.fault(where="GET /v5/account/wallet-balance", http_status=401)
    play = stage.play()
    until(lambda: play.says("the books could not be compared"))
    stage.next_close()
    time.sleep(0.5)
    assert stage.statuses() == {} and not play.is_trading
    stage.running.faults.remove()
    until(lambda: stage.statuses().get(signals.EXECUTED))
    play.stop()


class Watched:
    """An exchange that notes what a session's loop asks of it without telling the lease that it reads."""

    def __init__(self, exchange: Exchange, patch: pytest.MonkeyPatch) -> None:
        self._exchange = exchange
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self.asked, self.unguarded = set[str](), set[str]()
        run, catch_up = Session.run, CandleCache.catch_up

        def watched_run(session: Session) -> str:
            self._session, self._thread = session, threading.current_thread()
            return run(session)

        def watched_catch_up(cache: CandleCache, *given: Any) -> Any:  # it reads in threads of its own
            self._note("catch_up")
            return catch_up(cache, *given)

        patch.setattr(Session, "run", watched_run)
        patch.setattr(CandleCache, "catch_up", watched_catch_up)

    def _note(self, name: str) -> None:
        lease = self._session._lease if self._session is not None else None
        if lease is not None and threading.current_thread() is self._thread:
            self.asked.add(name)
            if not lease._readings:
                self.unguarded.add(name)

    def __getattr__(self, name: str) -> object:
        found = getattr(self._exchange, name)
        if callable(found):
            self._note(name)
        return found


@pytest.mark.slow
def test_whatever_the_loop_reads_keeps_the_lease(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read may take longer than a loop may: warm-up, books, contracts, candles that the stream does not bring."""
    watched = Watched(stage.exchange, monkeypatch)
    monkeypatch.setattr(stage, "exchange", watched)
    play = stage.play()
    until(lambda: play.is_trading)
    stage.fault(where="ws:kline.*", silence=True)
    stage.next_close()
    until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
    play.stop()
    assert {"catch_up", "instruments", "positions", "account_shape"} <= watched.asked
    assert watched.unguarded == set()


@pytest.mark.slow
def test_a_ledger_that_cannot_be_read_for_a_moment_costs_no_candle(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StorageError("the database is locked")]
    real = entries.find_entry_signals

    def find(**arguments: Any) -> FinderReport:
        if failures:
            raise failures.pop()
        return real(**arguments)

    monkeypatch.setattr(entries, "find_entry_signals", find)
    play = stage.play()
    until(lambda: play.says("the database is locked"))
    until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
    assert play.stop() == "stopped"


@pytest.mark.slow
def test_a_session_outlives_the_exchange(tmp_path: Path) -> None:
    clock, home = ClockSpec(ClockMode.MANUAL, start_ms=START), tmp_path / "exchange"
    with serve_in_thread(ServeConfig(home=home, symbols=14, clock=clock)) as first:
        stage = Stage(first, tmp_path)
        play = stage.play()
        until(lambda: play.is_trading)
        port = int(first.url.rpartition(":")[2])
    until(lambda: play.says("the stream is down"))
    with serve_in_thread(ServeConfig(home=home, symbols=14, port=port)) as again:
        stage.running = again
        until(lambda: play.says("the stream is back"))
        stage.next_close()
        until(lambda: len(_decided(play, stage)) == len(SYMBOLS))
        assert play.stop() == "stopped" and play.error is None
        stage.clear()


@pytest.mark.slow
def test_a_closing_is_in_the_books_soon_after_the_exchange_has_it(stage: Stage) -> None:
    """The account's stream tells that something has changed; no job reads the books here."""
    play = stage.play()
    until(lambda: play.is_trading)
    stage.next_close()
    until(lambda: stage.statuses().get("executed") == sorted(SYMBOLS))
    held = stage.exchange.position("SOLUSDT")
    assert held is not None
    stage.running.advance(1_000)
    stage.exchange.place_order(OrderRequest("SOLUSDT", held.side.opposite, held.size, "by-hand", reduce_only=True))
    until(lambda: [one.symbol for one in execution_ledger.own_closings(stage.database, "main", 0)] == ["SOLUSDT"])


@pytest.mark.slow
def test_a_session_reads_ahead_of_a_close_and_a_fill_of_others_makes_it_void(stage: Stage) -> None:
    select_coins(stage.database, START, SYMBOLS, "1m")  # none of which enters
    play = stage.play()
    until(lambda: play.is_trading)
    keeper, leverage = play.session._keeper, stage.settings.leverage
    until(lambda: not keeper.without_leverage(SYMBOLS, leverage))
    assert {stage.exchange.leverage(symbol) for symbol in SYMBOLS} == {leverage}
    now = stage.running.now_ms()
    stage.running.advance(floor_ms(now, MINUTE_MS) + MINUTE_MS - 400 - now)

    def is_read() -> bool:
        play.session._close_watch._told_ms = 0  # what the leverages have told may have come just now
        return keeper._reading is not None

    until(is_read)
    order = OrderRequest("SOLUSDT", Side.BUY, Decimal(1), "by-hand")
    stage.exchange.place_order(order)
    until(lambda: not keeper.has_leverage("SOLUSDT", leverage))
    until(is_read)
    reading = keeper._reading
    assert reading is not None
    assert "SOLUSDT" in {one.symbol for one in reading.positions}
    assert play.stop() == "stopped" and play.error is None


_LIES: dict[str, dict[str, dict[str, Any]]] = {
    "position": {"set": {"symbol": "SOLUSDT", "side": "", "size": "0", "stopLoss": ""}},
    "execution": {"set": {"symbol": "SOLUSDT", "side": "Sell", "execQty": "1000000", "closedSize": "1000000"}},
    "order": {"set": {"symbol": "SOLUSDT", "orderStatus": "Cancelled", "cumExecQty": "0"}},
    "wallet": {"set": {"totalEquity": "1", "coin.equity": "1"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lies", "repeats", "reorders", "is late", "breaks off", "is silent"])
def test_an_account_stream_that_lies_or_is_silent_changes_nothing_but_the_delay(stage: Stage, how: str) -> None:
    play = stage.play()
    until(lambda: play.is_trading)
    stage.next_close()
    until(lambda: stage.statuses().get("executed") == sorted(SYMBOLS))
    before = {one.symbol: (one.side, one.size, one.stop_loss) for one in stage.exchange.positions()}
    rules = {
        "repeats": {"duplicate": True},
        "reorders": {"reorder": True},
        "is late": {"delay_ms": 500},
        "breaks off": {"drop": True, "times": 2},
        "is silent": {"silence": True},
    }
    for topic, lie in _LIES.items():
        stage.fault(where=f"ws:{topic}", **(lie if how == "lies" else rules[how]))
    stage.running.advance(1_000)
    side, size, _ = before.pop("XRPUSDT")
    stage.exchange.place_order(OrderRequest("XRPUSDT", side.opposite, size, "by-hand", reduce_only=True))
    if how == "is silent":
        reconcile(ExecutionContext(stage.database, stage.exchange, stage.settings))  # as the reconcile job does
    until(lambda: [one.symbol for one in execution_ledger.own_closings(stage.database, "main", 0)] == ["XRPUSDT"])
    assert play.stop() == "stopped" and play.error is None
    reconcile(ExecutionContext(stage.database, stage.exchange, stage.settings))
    open_still = {intent.symbol: intent.status for intent in orders.occupying(stage.database, "main")}
    assert open_still == dict.fromkeys(before, "confirmed")
    assert before == {one.symbol: (one.side, one.size, one.stop_loss) for one in stage.exchange.positions()}
    now_ms = stage.exchange.now_ms()
    fills = stage.exchange.executions(now_ms - HOUR_MS, now_ms + 1)
    ours = [row.symbol for row in fills if stage.exchange.order_ids.is_ours(row.order_link_id)]
    assert sorted(set(ours)) == sorted(SYMBOLS), "nothing was sent on a hint"
    with stage.database.read() as connection:
        assert risk.entries_allowed(connection, "main", now_ms)


@pytest.mark.slow
def test_a_flag_and_a_setting_that_are_changed_meanwhile_are_obeyed_at_the_next_look(stage: Stage) -> None:
    assert session_module.SETTINGS_EVERY_S + session_module.EVENT_WAIT_S <= 5, "how soon a change is seen"
    ours = {"actor": "a person", "reason": "they are thin today"}
    done = changing.set_flag(stage.database, stage.settings, "entries", "off", **ours)
    play = stage.play()
    holds = f"version {done.version} of settings and flags holds: flag entries of all accounts - -> off"
    until(lambda: play.is_trading and play.says(holds))
    until(lambda: _looked(stage) == 1)
    assert not stage.statuses(), "no signal while the flag is off"
    changing.set_flag(stage.database, stage.settings, "entries", "on", **ours)
    done = changing.set_setting(stage.database, stage.settings, "position_size", "55", **ours)
    until(lambda: play.says(f"version {done.version} of settings and flags holds"))
    stage.next_close()
    until(lambda: len(stage.statuses().get("executed", [])) == 3)
    rows = signals.since(stage.database, "main", 0)
    assert set(rows["settings_version"]) == {float(done.version)} and set(rows["position_size"]) == {55.0}
    assert not play.stop() or play.error is None


def _looked(stage: Stage) -> int:
    with stage.database.read() as connection:
        return len(connection.execute(sa.select(signal_evaluations)).all())


def test_settings_that_cannot_be_read_leave_the_last_in_force(stage: Stage) -> None:
    play = stage.play()
    until(lambda: play.is_trading)

    def broken() -> Settings:
        raise StorageError("the ledger is locked")

    play.session._newest_settings = broken
    until(lambda: play.says("settings cannot be read, the last hold") or play.says("cannot be read, the last hold"))
    stage.next_close()
    until(lambda: len(stage.statuses().get("executed", [])) == 3)


@pytest.mark.slow
def test_a_session_buys_what_a_dca_plan_is_due_once_each(stage: Stage) -> None:
    plan = replace(A_PLAN, symbol=SYMBOLS[0], anchor_ms=START, amount=Decimal(50), max_deployed=Decimal(500))
    start_plan(ExecutionContext(stage.database, stage.exchange, stage.settings), replace(plan, leverage=Decimal(1)))

    def filled() -> list[int]:
        with stage.database.read() as connection:
            (row,) = dca.living(connection, "main")
            return [buy.due_ms for buy in dca.buys_of(connection, row.plan_id) if buy.outcome == dca.FILLED]

    play = stage.play()
    until(lambda: play.is_trading and len(filled()) == 1)
    stage.running.advance(MINUTE_MS + 100)
    until(lambda: len(filled()) == 2)
    assert play.stop() == "stopped"
    assert filled() == [START, START + MINUTE_MS]
    position = stage.exchange.position(SYMBOLS[0])
    assert position is not None
    assert position.stop_loss is not None
