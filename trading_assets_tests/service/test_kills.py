"""A real `trading-assets serve` is killed at each step between taking a command and having its answer marked as sent.

What stops or only looks is done again, however far it had come. What else had begun is answered with "interrupted", and
is done once at most. Only a death between an answer and its mark sends the answer twice.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from trading_assets.cli.main import cli
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import chat
from trading_assets.ledger.chat import State
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.ledger.strategies import active_names, seed_registry, set_active
from trading_assets.notifications.telegram import TelegramApi
from trading_assets.service import actions, chat_commands
from trading_assets.service.bot import INTERRUPTED, bot_name
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.risk import guard
from trading_assets_tests.forked import PROCESSES
from trading_assets_tests.polling import until
from trading_assets_tests.service.bot_api import TOKEN, BotApi, bot_api
from trading_assets_tests.trading.fixtures import STRATEGY

TAKEN, IN_WRITING = "taken, before it is written", "in the writing, before its commit"
WRITTEN, BEGUN, IN_ACT = "written, before it is begun", "begun, before it acts", "in the act"
ACTED, ENDED = "acted, before that is written", "written that it acted, before it is answered"
ANSWERED = "answered, before that is written"
STEPS = (TAKEN, IN_WRITING, WRITTEN, BEGUN, IN_ACT, ACTED, ENDED, ANSWERED)


def _serve(armed: Path, performed: Path, log: Path, environment: dict[str, str]) -> None:
    """`trading-assets serve --with bot` in a process of its own, which kills itself at the step that `armed` names."""
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)

    def dies(at: str) -> None:
        if armed.exists() and armed.read_text() == at:
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(owner: Any, name: str, before: str = "", after: str = "") -> None:
        real = getattr(owner, name)

        def wrapped(*given: Any, **more: Any) -> Any:
            dies(before)
            found = real(*given, **more)
            dies(after)
            return found

        setattr(owner, name, wrapped)

    real_insert, real_perform, real_call = chat._insert, chat_commands.perform, TelegramApi.call

    def insert(database: Database, into: Any) -> Any:
        if into is chat.bots:
            dies(IN_WRITING)
        return real_insert(database, into)

    def perform(operator: Any, role: Any, text: str, *, is_button: bool) -> Any:
        with performed.open("a") as file:
            file.write(text + "\n")
        return real_perform(operator, role, text, is_button=is_button)

    def call(api: TelegramApi, method: str, *given: Any, **more: Any) -> Any:
        found = real_call(api, method, *given, **more)
        if method == "sendMessage":
            dies(ANSWERED)
        return found

    for owner, name, changed in (
        (chat, "_insert", insert),
        (chat_commands, "perform", perform),
        (TelegramApi, "call", call),
    ):
        setattr(owner, name, changed)
    dying(chat, "receive", TAKEN, WRITTEN)
    dying(chat, "start", after=BEGUN)
    for owner, name in ((guard, "command"), (actions, "set_active")):
        dying(owner, name, IN_ACT)
    dying(chat, "end", ACTED, ENDED)
    cli(["serve", "--with", "bot"])


@dataclass
class Stage:
    """An installation in which the process lives, dies, and lives again."""

    api: BotApi
    database: Database
    settings: Settings
    folder: Path

    def __post_init__(self) -> None:
        self.armed, self.performed = self.folder / "armed", self.folder / "performed"
        self.performed.touch()

    def start(self) -> ForkServerProcess:
        """The process; what held the chats before it is dead, and need not run out."""
        with self.database.write() as connection:
            connection.exec_driver_sql("UPDATE leases SET expires_wall_ms = 1")
        given = (self.armed, self.performed, self.folder / "serve.log", dict(os.environ))
        process = PROCESSES.Process(target=_serve, args=given)
        process.start()
        return process

    def times_performed(self) -> int:
        return len(self.performed.read_text().splitlines())

    def state(self) -> RiskState:
        return in_force(read_history(self.database, "main"), local_ms()).state

    def command(self, state: RiskState) -> None:
        """The account's state, without the bot."""
        now = {"reason": "a test", "actor": "test", "now_ms": local_ms()}
        if state is RiskState.ACTIVE:
            guard.resume(self.database, self.settings, **now)
        else:
            guard.command(self.database, "main", state, **now)

    def is_busy(self) -> bool:
        """Whether a command is not ended, or its answer not marked as sent."""
        bot = bot_name(self.settings)
        return bool(chat.unfinished(self.database, bot) or chat.unanswered(self.database, bot))

    def ends(self) -> list[State]:
        """Of the commands, the oldest first."""
        return [one.state for one in reversed(chat.newest(self.database, "main", 1000))]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with serve_in_thread(ServeConfig(symbols=6)) as exchange, bot_api() as api:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", exchange.url)
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_TOKEN", TOKEN)
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_USERS", '{"1": "admin"}')
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_API_URL", api.url)
        monkeypatch.setenv("TRADING_ASSETS_TELEGRAM_PER_MINUTE", "1000")
        monkeypatch.setenv("TRADING_ASSETS_NOTIFY_RULES", '{"*": {"kinds": ["summary"]}}')  # answers alone
        settings = load_settings()
        database = Database(settings.resolved_database_url)
        seed_registry(database)
        yield Stage(api, database, settings, tmp_path)
        database.close()


@dataclass(frozen=True)
class Case:
    """A command, what must hold before it, and what holds when it was done."""

    text: str
    before: Callable[[Stage], None]
    is_done: Callable[[Stage], bool]
    is_repeated: bool
    is_pressed: bool = False

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(step for step in STEPS if step != IN_ACT or self.text != "/status")


CASES = (
    Case(
        "/halt",
        lambda at: at.command(RiskState.ACTIVE),
        lambda at: at.state() is RiskState.HALTED,
        is_repeated=True,
    ),
    Case(
        "/reduce",
        lambda at: at.command(RiskState.ACTIVE),
        lambda at: at.state() is RiskState.REDUCING,
        is_repeated=True,
    ),
    Case("/status", lambda _: None, lambda _: True, is_repeated=True),
    Case(
        f"/stop_strategy {STRATEGY}",
        lambda at: set_active(at.database, STRATEGY, True),
        lambda at: STRATEGY not in active_names(at.database),
        is_repeated=False,
    ),
    Case(
        "/resume",
        lambda at: at.command(RiskState.HALTED),
        lambda at: at.state() is RiskState.ACTIVE,
        is_repeated=False,
        is_pressed=True,
    ),
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text.split()[0].removeprefix("/"))
def test_a_kill_at_each_step_repeats_what_is_harmless_and_nothing_else(case: Case, stage: Stage) -> None:
    process = stage.start()
    try:
        for step in case.steps:
            case.before(stage)
            answers, performed = len(stage.api.sent), stage.times_performed()
            if case.is_pressed:
                stage.api.write(case.text)
                until(lambda count=answers: len(stage.api.sent) > count and not stage.is_busy())  # type: ignore[misc]
                answers, performed = answers + 1, performed + 1
                button = stage.api.sent[-1]["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
            stage.armed.write_text(step)
            stage.api.press(button) if case.is_pressed else stage.api.write(case.text)
            process.join(60)
            assert process.exitcode == -signal.SIGKILL, step
            before_death = stage.times_performed() - performed
            assert before_death == (STEPS.index(step) >= STEPS.index(IN_ACT)), step
            process = stage.start()
            until(lambda count=answers: len(stage.api.sent) > count and not stage.is_busy())  # type: ignore[misc]
            said = stage.api.texts()[answers:]
            times = stage.times_performed() - performed
            is_unknown = step in (BEGUN, IN_ACT, ACTED)
            assert len(said) == (2 if step == ANSWERED else 1), (step, said)
            if case.is_repeated or not is_unknown:
                assert case.is_done(stage) and stage.ends()[-1] is State.DONE, (step, said)
                assert times == (2 if step in (IN_ACT, ACTED) else 1), step
                assert INTERRUPTED not in said
            else:
                assert said == [INTERRUPTED] and stage.ends()[-1] is State.INTERRUPTED, step
                assert times == before_death and case.is_done(stage) == (step == ACTED), step
    finally:
        process.kill()
        process.join()
