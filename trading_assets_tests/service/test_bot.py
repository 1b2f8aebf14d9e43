"""A conversation with the bot, on a Bot API in a process of its own: each command, strangers, faults, and deaths."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_assets.core.messages import Message
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import chat, leases, outbox, risk, tables
from trading_assets.ledger.chat import State
from trading_assets.ledger.database import Database
from trading_assets.ledger.named_accounts import NamedAccount
from trading_assets.ledger.risk import RiskState
from trading_assets.ledger.strategies import active_names
from trading_assets.service import actions, journal, replies
from trading_assets.service.bot import INTERRUPTED, Bot, bot_name, pieces_of
from trading_assets.trading import halt_file
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import confirmations
from trading_assets_tests.polling import until
from trading_assets_tests.service.bot_api import OUR_NAME, TOKEN, BotApi, bot_api
from trading_assets_tests.trading.fixtures import STRATEGY, Harness, add_signal, harness_on

ADMIN, TRADER, VIEWER, STRANGER = 1, 2, 3, 99
GROUP = -100123


@pytest.fixture
def api() -> Iterator[BotApi]:
    with bot_api() as found:
        yield found


class Scene:
    """A bot on an account with a fake exchange, begun and ended as often as a test likes."""

    def __init__(self, api: BotApi, database: Database, harness: Harness) -> None:
        self.api, self.database, self.harness = api, database, harness
        self.settings: Settings = harness.context.settings.model_copy(
            update={
                "telegram_token": SecretStr(TOKEN),
                "telegram_users": {ADMIN: "admin", TRADER: "trader", VIEWER: "viewer"},
                "telegram_chats": (GROUP,),
                "telegram_api_url": api.url,
                "telegram_per_minute": 60,
            }
        )
        self.told: list[Message] = []
        self.name = bot_name(self.settings)

    @contextmanager
    def running(self, poll_s: float = 2) -> Iterator[None]:
        lease = leases.acquire(self.database, self.name, leases.this_holder(), ttl_ms=600_000, wall_ms=local_ms())
        assert lease is not None
        ends = threading.Event()
        bot = Bot(self.settings, self.database, self.told.append, ends, lambda: lease, poll_s=poll_s)
        thread = threading.Thread(target=bot.run)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()
            leases.release(self.database, lease)

    def answer(self, text: str, *, user: int = ADMIN, **more: Any) -> str:
        """Write a command, and wait for its answer."""
        return self._answer_to(lambda: self.api.write(text, user=user, **more))

    def press(self, data: str, *, user: int = ADMIN) -> str:
        return self._answer_to(lambda: self.api.press(data, user=user))

    def _answer_to(self, act: Callable[[], int]) -> str:
        before = len(self.api.sent)
        act()
        until(lambda: len(self.api.sent) > before)
        return self.api.texts()[before]

    def buttons(self) -> list[str]:
        """What the buttons of the newest answer stand for."""
        (row,) = self.api.sent[-1]["reply_markup"]["inline_keyboard"]
        return [one["callback_data"] for one in row]

    def state(self) -> RiskState:
        return risk.in_force(risk.read_history(self.database, "main"), local_ms()).state

    def states(self) -> list[State]:
        return [one.state for one in reversed(chat.newest(self.database, "main", 100))]


@pytest.fixture
def scene(api: BotApi, sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> Scene:
    harness = harness_on(sqlite, "AUSDT", "BUSDT")
    for symbol in ("AUSDT", "BUSDT"):
        add_signal(sqlite, symbol)
    submit_orders(harness.context)
    harness.later()
    found = Scene(api, sqlite, harness)
    monkeypatch.setattr(actions, "open_exchange", lambda _: harness.exchange)
    monkeypatch.setattr(actions, "open_market_data", lambda _: harness.exchange)
    reconcile(harness.context)
    return found


@pytest.mark.slow
def test_everything_that_a_viewer_may_ask_is_answered(scene: Scene) -> None:
    with scene.running():
        said = {name: scene.answer(f"/{name}", user=VIEWER) for name in ("status", "portfolio", "positions", "trades")}
        said |= {name: scene.answer(name, user=VIEWER) for name in ("performance", "signals", "strategies", "help")}
        why = scene.answer("/why main:AUSDT:60m", user=VIEWER)
        unknown = scene.answer("/why nothing", user=VIEWER)
    assert "ACTIVE" in said["status"] and "2 open" in said["status"]
    assert "equity" in said["portfolio"] and "exposure" in said["portfolio"]
    assert "LONG AUSDT" in said["positions"] and "stop 98" in said["positions"]
    assert said["trades"] == "no trade was closed yet"
    assert "0 closed" in said["performance"]
    assert "LONG AUSDT 60m bollinger_rsi, 80 %: executed" in said["signals"]
    assert f"on  {STRATEGY}" in said["strategies"]
    assert "/positions" in said["help"] and "/halt" not in said["help"]
    assert why.startswith("LONG AUSDT 60m by bollinger_rsi")
    assert "nothing" in unknown
    assert set(scene.states()) == {State.DONE, State.FAILED}


def test_books_that_were_never_read_are_not_called_empty(sqlite: Database) -> None:
    settings = harness_on(sqlite, "AUSDT").context.settings
    assert replies.positions(settings, sqlite) == replies.NEVER_READ
    actions.risk_guard.command(sqlite, "main", RiskState.REDUCING, reason="wind", actor="me", now_ms=local_ms())
    said = replies.status(settings, sqlite)
    assert "REDUCING since" in said and "by me: wind" in said and replies.NEVER_READ in said


@pytest.mark.slow
def test_a_viewer_changes_nothing_and_a_trader_does_not_flatten(scene: Scene) -> None:
    with scene.running():
        assert "needs the role trader" in scene.answer("/halt", user=VIEWER)
        assert "needs the role admin" in scene.answer("/flatten", user=TRADER)
        assert "needs the role admin" in scene.answer("/resume", user=TRADER)
    assert scene.state() is RiskState.ACTIVE and halt_file.found(scene.settings) is None
    assert len(scene.harness.exchange.open) == 2


def test_halt_and_reduce_act_at_once_and_resume_asks_back(scene: Scene) -> None:
    with scene.running():
        assert "is REDUCING, was ACTIVE" in scene.answer("/reduce a storm comes", user=TRADER)
        assert "is HALTED, was REDUCING" in scene.answer(f"/halt@{OUR_NAME} it is here", user=TRADER, chat=GROUP)
        assert halt_file.found(scene.settings) is not None
        assert scene.answer("/resume").startswith("Let account main on simulator trade again?")
        yes, _ = scene.buttons()
        assert scene.state() is RiskState.HALTED
        assert "is ACTIVE, was HALTED" in scene.press(yes)
        assert "was used already" in scene.press(yes)
    assert scene.state() is RiskState.ACTIVE and halt_file.found(scene.settings) is None
    history = risk.read_history(scene.database, "main")
    assert [(one.actor, one.reason) for one in history][:2] == [
        ("telegram:2 (user2)", "a storm comes"),
        ("telegram:2 (user2)", "it is here"),
    ]


@pytest.mark.slow
def test_a_brake_stops_every_account_and_what_is_risky_must_name_one(scene: Scene) -> None:
    row = NamedAccount("second", "simulator", {}, "none", "", None, None, 1)
    with scene.database.write() as connection:
        connection.execute(sa.insert(tables.named_accounts).values(vars(row) | {"place": "{}"}))
    with scene.running():
        assert "Account second is REDUCING" in scene.answer("/reduce account=second wind", user=TRADER)
        assert scene.state() is RiskState.ACTIVE
        said = scene.answer("/halt", user=TRADER)
        assert "Account main is HALTED" in said and "Account second is HALTED" in said
        assert "must name one of the accounts main, second" in scene.answer("/resume")
        assert "account main" in scene.answer("/resume account=main")
        assert "is ACTIVE, was HALTED" in scene.press(scene.buttons()[0])
        assert "no account 'third'" in scene.answer("/halt account=third", user=TRADER)
    second = risk.in_force(risk.read_history(scene.database, "second"), local_ms())
    assert second.state is RiskState.HALTED and scene.state() is RiskState.ACTIVE


@pytest.mark.slow
def test_close_closes_one_position_and_trading_goes_on(scene: Scene) -> None:
    with scene.running():
        assert "no open position in CUSDT" in scene.answer("/close cusdt", user=TRADER)
        assert "is no symbol" in scene.answer("/close ../x", user=TRADER)
        assert "Expected: /close SYMBOL" in scene.answer("/close", user=TRADER)
        asked = scene.answer("/close ausdt", user=TRADER)
        assert "Buy AUSDT" in asked and "BUSDT" not in asked.replace("Close AUSDT", "")
        assert "AUSDT" in scene.harness.exchange.open
        yes, no = scene.buttons()
        assert "only he may confirm" in scene.press(yes, user=ADMIN)
        scene.answer("/close AUSDT", user=TRADER)
        assert scene.press(scene.buttons()[1], user=TRADER) == "Nothing was done."
        scene.answer("/close AUSDT", user=TRADER)
        assert "1 closed (AUSDT)" in scene.press(scene.buttons()[0], user=TRADER)
    assert list(scene.harness.exchange.open) == ["BUSDT"]
    assert scene.state() is RiskState.ACTIVE
    assert no == "cancel::"


@pytest.mark.slow
def test_flatten_halts_and_closes_all_and_a_changed_set_of_positions_is_asked_for_again(scene: Scene) -> None:
    with scene.running():
        scene.answer("/flatten")
        before = scene.buttons()[0]
        scene.harness.exchange.close_position("BUSDT")
        reconcile(scene.harness.context)
        assert "have changed" in scene.press(before)
        assert scene.state() is RiskState.ACTIVE
        scene.answer("/flatten")
        assert "1 closed (AUSDT)" in scene.press(scene.buttons()[0])
    assert scene.harness.exchange.open == {} and scene.state() is RiskState.HALTED


@pytest.mark.slow
def test_a_code_is_kept_nowhere_once_it_was_sent(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Of a button that was pressed, and of one that only a stranger has pressed."""
    caplog.set_level(logging.DEBUG, "trading_assets")
    with scene.running():
        scene.answer("/flatten")
        pressed = scene.buttons()[0]
        scene.press(pressed)
        scene.answer("/resume")
        unused = scene.buttons()[0]
        scene.api.press(unused, user=STRANGER)
        scene.answer("/status")
    codes = {one.split(":")[2] for one in (pressed, unused)}
    assert len(codes) == 2 and all(len(one) == 14 for one in codes)
    with scene.database.read() as connection:
        kept = str(connection.execute(sa.select(tables.chat_commands)).all())
    shown = "\n".join(one.text for one in journal.newest(scene.database, "main", 99))
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("trading_assets"))
    told = str(scene.told)
    assert "yes, flatten account=main (done)" in shown and "yes, flatten account=main: done" in logged
    assert "wrote: yes, resume account=main" in told
    assert not [one for one in codes if one in kept + shown + logged + told]


@pytest.mark.slow
def test_a_confirmation_runs_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = confirmations.create

    def old(*given: Any, **more: Any) -> str:
        return real(*given, **more, now_s=lambda: __import__("time").time() - 61)

    monkeypatch.setattr(confirmations, "create", old)
    with scene.running():
        scene.answer("/flatten")
        assert "too old" in scene.press(scene.buttons()[0])
    assert len(scene.harness.exchange.open) == 2


@pytest.mark.slow
def test_a_strategy_is_stopped_and_started(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from trading_assets.reporting import strategy_check
    from trading_assets.reporting.strategy_check import BeforeStart

    monkeypatch.setattr(strategy_check, "before_start", lambda *_: BeforeStart([], None, ()))
    with scene.running():
        assert "opens nothing more" in scene.answer(f"/stop_strategy {STRATEGY}", user=TRADER)
        assert STRATEGY not in active_names(scene.database)
        assert "is backtested from the next hour on" in scene.answer(f"/start_strategy {STRATEGY}")
        assert STRATEGY in active_names(scene.database)
        assert "unknown strategy" in scene.answer("/start_strategy nonsense")


@pytest.mark.slow
def test_a_stranger_is_refused_unanswered_and_the_owner_is_told_once(scene: Scene) -> None:
    with scene.running():
        for _ in range(3):
            scene.api.write("/halt now", user=STRANGER)
        scene.api.write("/halt", user=ADMIN, chat=-555)  # an admin in a group that nobody has allowed
        scene.api.write("/halt", user=TRADER, forward_date=1)
        scene.api.write("/halt@another_bot", user=TRADER, chat=GROUP)
        assert "ACTIVE" in scene.answer("/status")
    assert scene.state() is RiskState.ACTIVE
    assert len(scene.api.sent) == 1, "strangers hear nothing"
    assert scene.states() == [State.REFUSED] * 4 + [State.DONE]
    told = [one for one in scene.told if "stranger" in one.title]
    with scene.database.write() as connection:
        for one in told:
            outbox.add(connection, "main", one, time_ms=0, wall_ms=0)
    kept = [one.message.body for one in outbox.newest(scene.database, "main", 99) if "stranger" in one.message.title]
    assert len(kept) == 2 and "telegram:99 (user99) in chat 99 wrote: /halt now" in kept[1]


@pytest.mark.slow
def test_what_comes_twice_acts_once(scene: Scene) -> None:
    with scene.running():
        scene.api.write(f"/stop_strategy {STRATEGY}", user=TRADER)
        until(lambda: scene.api.sent)
    with scene.running():
        scene.api.repeat(3)
        scene.api.write("/status")
        until(lambda: len(scene.api.sent) >= 2)
    assert scene.states() == [State.DONE, State.DONE]


@pytest.mark.slow
def test_a_late_command_is_not_done_but_a_halt_is(scene: Scene) -> None:
    scene.api.write(f"/stop_strategy {STRATEGY}", user=TRADER, age_s=3600)
    scene.api.write("/halt", user=TRADER, age_s=3600)
    with scene.running():
        until(lambda: len(scene.api.sent) == 2)
    assert "came too late" in scene.api.texts()[0] and "HALTED" in scene.api.texts()[1]
    assert STRATEGY in active_names(scene.database)


@pytest.mark.slow
def test_more_commands_than_allowed_are_refused_but_a_halt_is_not(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"telegram_per_minute": 2})
    with scene.running():
        for _ in range(2):
            scene.answer("/help", user=TRADER)
        assert "More than 2 commands" in scene.answer("/help", user=TRADER)
        assert "is HALTED" in scene.answer("/halt", user=TRADER)


@pytest.mark.slow
@pytest.mark.parametrize("state", [State.RECEIVED, State.STARTED])
def test_after_a_death_halt_is_done_again_and_what_acts_is_said_to_be_unknown(scene: Scene, state: State) -> None:
    lease = leases.acquire(scene.database, scene.name, "dead", ttl_ms=60_000, wall_ms=local_ms())
    assert lease is not None
    lost = [
        chat.Command(number, TRADER, TRADER, "telegram:2 (user2)", text, False, "1", local_ms())
        for number, text in enumerate([f"/stop_strategy@{OUR_NAME} {STRATEGY}", f"/halt@{OUR_NAME}", "/reduce"], 1)
    ]
    chat.receive(scene.database, scene.name, "main", lost, 4, lease=lease, wall_ms=local_ms())
    if state is State.STARTED:
        for one in lost:
            chat.start(scene.database, scene.name, one.update_id)
    leases.release(scene.database, lease)
    with scene.running():
        until(lambda: len(scene.api.sent) == 3)
    assert scene.state() is RiskState.HALTED
    if state is State.STARTED:
        assert scene.api.texts()[0] == INTERRUPTED
        assert STRATEGY in active_names(scene.database)
        assert scene.states() == [State.INTERRUPTED, State.DONE, State.DONE]
    else:
        assert STRATEGY not in active_names(scene.database)
        assert scene.states() == [State.DONE] * 3


@pytest.mark.slow
def test_what_is_done_beside_is_answered_without_waiting_for_news(scene: Scene) -> None:
    """A poll lasts ten minutes here; each answer comes while one waits."""
    with scene.running(poll_s=600):
        assert "HALTED" in scene.answer("/halt")
        scene.answer("/resume")
        (press, *_) = scene.buttons()
        assert "ACTIVE" in scene.press(press)
    assert scene.state() is RiskState.ACTIVE


@pytest.mark.slow
def test_faults_of_the_messenger_lose_no_command_and_no_answer(scene: Scene) -> None:
    scene.api.fail("getMe", 502)
    scene.api.fail("getUpdates", 429, parameters={"retry_after": 1})
    scene.api.fail("sendMessage", 429, parameters={"retry_after": 1})
    with scene.running():
        assert "ACTIVE" in scene.answer("/status")
        scene.api.fail("sendMessage", 500)
        assert "HALTED" in scene.answer("/halt", user=TRADER)
        scene.api.fail("answerCallbackQuery", 400)
        scene.answer("/resume")
        assert "is ACTIVE" in scene.press(scene.buttons()[0])
    assert len(scene.api.sent) == 4


@pytest.mark.slow
def test_a_messenger_that_starts_anew_is_found_again(scene: Scene) -> None:
    port = scene.api.port
    with scene.running():
        scene.answer("/help")
        scene.api.stop()
        scene.api.__init__(port, 5000)  # type: ignore[misc]
        assert "ACTIVE" in scene.answer("/status")


@pytest.mark.slow
def test_updates_that_are_numbered_anew_after_a_quiet_week_are_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = scene.api.port
    with scene.running():
        scene.answer("/help")
    scene.api.stop()
    scene.api.__init__(port, 7)  # type: ignore[misc]
    monkeypatch.setattr("trading_assets.service.bot.OFFSET_HOLDS_MS", -1)
    with scene.running():
        assert "ACTIVE" in scene.answer("/status")


@pytest.mark.slow
def test_somebody_else_who_reads_the_chats_is_told_of_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_assets.service.bot._CONFLICT_REST_S", 0.1)
    scene.api.fail("getUpdates", 409, times=3)
    with scene.running():
        assert "ACTIVE" in scene.answer("/status")
    assert [one.body for one in scene.told if "another program" in one.body].__len__() == 1


@pytest.mark.slow
def test_halt_needs_no_ledger(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from trading_assets.core.errors import StorageError

    def broken(*_: Any, **__: Any) -> Any:
        raise StorageError("the database is locked")

    with scene.running():
        scene.answer("/help")
        with monkeypatch.context() as without:
            without.setattr(chat, "receive", broken)
            scene.api.write("/halt", user=TRADER)
            until(lambda: halt_file.found(scene.settings) is not None)
            assert scene.state() is RiskState.ACTIVE
        until(lambda: scene.state() is RiskState.HALTED)
        until(lambda: len(scene.api.sent) == 2)


@pytest.mark.slow
def test_an_outcome_that_cannot_be_written_is_not_done_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from trading_assets.core.errors import StorageError

    real, failures = chat.end, [1, 1]

    def failing(*given: Any, **more: Any) -> None:
        if failures:
            failures.pop()
            raise StorageError("the database is locked")
        real(*given, **more)

    done: list[str] = []
    stop = actions.Operator.stop_strategy
    monkeypatch.setattr(
        actions.Operator, "stop_strategy", lambda operator, name: done.append(name) or stop(operator, name)
    )
    monkeypatch.setattr(chat, "end", failing)
    with scene.running():
        assert "opens nothing more" in scene.answer(f"/stop_strategy {STRATEGY}", user=TRADER)
    assert done == [STRATEGY]


def test_long_answers_come_in_pieces_at_ends_of_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(2000))
    pieces = list(pieces_of(text))
    assert all(0 < len(one) <= 4096 for one in pieces) and "\n".join(pieces) == text
    assert list(pieces_of("x" * 5000)) == ["x" * 4096, "x" * 904]
