"""A live session on an exchange that fails: each alarm that an exchange can cause fires, and is resolved after it.

Ages and times to last are shortened here; that they hold as stated is shown in `test_alarms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trading_assets.core.messages import Kind
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import alarms as alarm_rows
from trading_assets.ledger import outbox
from trading_assets.ledger.alarms import AlarmState
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.observability import alarms, readings
from trading_assets.observability.alarms import API_ERRORS, RULES, Watch
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.trading.halt_file import path_of
from trading_assets.venues import open_exchange
from trading_assets_tests.trading.fixtures import settings
from trading_assets_tests.wild_account.proxy import POSITIONS, STOPS, WALLET, Answer, Request
from trading_assets_tests.wild_account.scene import Play, Scene, attempt, open_scene, until

COIN = "SOLUSDT"
SOON = "2026-03-05T10:00:00Z"
"""Three days after a scene begins."""

NOT_OF_THE_EXCHANGE = {
    "no_selection": "research does not run",
    "backlog": "more signals than are sent",
    "outbox_stuck": "a channel of messages",
    "mirror_stuck": "DynamoDB",
    "disk_low": "the machine",
    "certificate_expires": "the proxy before the UI",
}


@dataclass
class Watched:
    """A session in a thread, a scene whose reconciler reads the books, and one who looks at both."""

    scene: Scene
    folder: Path
    stack: ExitStack
    watch: Watch = field(default_factory=Watch)
    play: Play = field(init=False)

    def begin(self) -> None:
        """Another session, as soon as it trades."""
        url = self.scene.running.url
        self.play = play = Play(self.scene.running, self.scene.database, self.folder, url, COIN, timeframe="60m")
        self.stack.callback(play.stop)
        assert until(lambda: play.is_trading or play.error, within_s=120) and play.error is None, play.told

    def fires(self, name: str) -> bool:
        """Read the books if that is possible, and look at everything."""
        attempt(self.scene.reconcile)
        reading = readings.read(self.scene.database, self.play.settings, local_ms())
        self.watch.look(self.scene.database, reading)
        standing = alarm_rows.current(self.scene.database, "main")
        return any(one.name == name and one.state is AlarmState.FIRING for one in standing)

    def told(self, name: str) -> list[str]:
        """Titles of the messages about it, oldest first."""
        found = outbox.newest(self.scene.database, "main", 200)
        titles = [one.message.title for one in reversed(found) if one.message.kind is Kind.ALARM]
        return [title for title in titles if name in title]

    def fault(self, **rule: Any) -> None:
        """A fault of the exchange itself, for the session and the scene."""
        self.scene.running.faults.add([FaultRule.model_validate(rule)], self.scene.now_ms())

    def resume(self) -> None:
        """A person says that trading may go on."""
        path_of(self.play.settings).unlink(missing_ok=True)
        over = StateChange(RiskState.ACTIVE, Cause.COMMAND, "over", "me", self.scene.now_ms())
        assert change_state(self.scene.database, "main", over, unless=lambda now: now.state is RiskState.ACTIVE)


@pytest.fixture
def watched(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(alarms, "RULES", {name: replace(rule, lasts_s=0) for name, rule in RULES.items()})
    monkeypatch.setattr(alarms, "STREAM_SILENT_S", 20.0)
    monkeypatch.setattr(alarms, "ERROR_WINDOW_MS", 15_000)
    with ExitStack() as stack:
        scene = open_scene(stack, database)
        scene.exchange.close()
        # As the session opens it, so both know the same market; through the proxy.
        scene.exchange = open_exchange(settings(simulator_url=scene.proxy.url, limits_dir=tmp_path))
        scene.restart()
        scene.enter(COIN)
        watched = Watched(scene, tmp_path, stack)
        watched.begin()
        yield watched


def unprotected(watched: Watched) -> None:
    """A person takes the stop off, and the exchange does not take another one."""
    watched.scene.proxy.refuse(STOPS, 10016, "Server error.")
    watched.scene.stops_by_hand(COIN, stop=0)


def books_old(watched: Watched) -> None:
    """Positions cannot be read for three minutes."""
    watched.scene.proxy.refuse(POSITIONS, 10016, "Server error.")
    watched.scene.later(180)


def drawdown_near(watched: Watched) -> None:
    """The wallet has lost 17 % of 20 %."""
    watched.scene.proxy.rewrite(WALLET, wallet_of(watched.scene, "0.83"))


def api_errors(watched: Watched) -> None:
    """The books cannot be read, again and again."""
    watched.scene.proxy.refuse(POSITIONS, 10016, "Server error.")


def stream_silent(watched: Watched) -> None:
    """No candle comes, and no answer to a ping."""
    watched.fault(where="ws:*", silence=True)


def key_expires(watched: Watched) -> None:
    """The key of the next session ends in three days."""
    watched.fault(where="GET /v5/user/query-api", set={"expiredAt": SOON})
    watched.play.stop()
    watched.begin()


def no_session(watched: Watched) -> None:
    """The session ends, and no other begins."""
    watched.play.stop()


def halted(watched: Watched) -> None:
    """The wallet has lost a quarter."""
    watched.scene.proxy.rewrite(WALLET, wallet_of(watched.scene, "0.75"))


def wallet_of(scene: Scene, share: str) -> Callable[[Request, Answer], None]:
    """The wallet as if so much of it were left."""
    left = str(scene.equity() * Decimal(share))

    def change(_: Request, answer: Answer) -> None:
        answer["result"]["list"][0]["totalEquity"] = left

    return change


FAULTS = (unprotected, books_old, drawdown_near, api_errors, stream_silent, key_expires, no_session, halted)
WITH_A_NEW_SESSION = {"key_expires", "no_session"}


def test_every_alarm_is_caused_here_or_not_by_the_exchange() -> None:
    assert {one.__name__ for one in FAULTS} | NOT_OF_THE_EXCHANGE.keys() == {*RULES, API_ERRORS}


@pytest.mark.slow
def test_each_fires_while_the_exchange_fails_and_is_resolved_after_it(watched: Watched) -> None:
    for fault in FAULTS:
        name = fault.__name__
        # What failed before may still be in the window of failed requests.
        assert until(lambda name=name: not watched.fires(name), within_s=90), name
        fault(watched)
        assert until(lambda name=name: watched.fires(name), within_s=90), name
        watched.scene.proxy.clear()
        watched.scene.running.faults.remove()
        if name in WITH_A_NEW_SESSION:
            watched.play.stop()
            watched.begin()
        if name == "halted":
            watched.resume()
        assert until(lambda name=name: not watched.fires(name), within_s=90), name
        assert watched.told(name)[:1] == [f"alarm: {name}"] and watched.told(name)[-1:] == [f"resolved: {name}"]
    assert watched.scene.leg(COIN) is not None and watched.scene.stop(COIN) is not None
