"""Kind 8: a clock that was wrong for a moment, or is set back, costs that moment and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from trading_assets.ledger.database import Database
from trading_assets_tests.wild_account.proxy import CLOSED, TIME, Answer, Request
from trading_assets_tests.wild_account.scene import Play, Scene, attempt, open_scene, until

HOUR_S = 3600
SYMBOLS = ("SOLUSDT", "XRPUSDT", "DOGEUSDT")


def _off(scene: Scene, seconds: float, *, times: int | None = None) -> None:
    """The venue tells a time that is wrong."""

    def wrong(_: Request, answer: Answer) -> None:
        nano = int(answer["result"]["timeNano"]) + int(seconds * 1e9)
        answer["result"] = {"timeNano": str(nano), "timeSecond": str(nano // 10**9)}
        answer["time"] = nano // 10**6

    scene.proxy.rewrite(TIME, wrong, times=times)


def _dead_holder(scene: Scene, *, ttl_s: int = 30) -> None:
    """A process that took the right to trade just now, and died."""
    expires = scene.context.wall_ms() + ttl_s * 1000
    scene.execute(
        "INSERT INTO leases (name, holder, fence, expires_wall_ms) VALUES ('trade:main', 'dead', 7, :e)", e=expires
    )


@pytest.mark.slow
@pytest.mark.parametrize("back_s", [0, 600, 7 * 86_400])
def test_a_dead_holder_is_outlived_whatever_the_local_clock_does(
    scene: Scene, skip_time: Callable[[float], None], back_s: int
) -> None:
    scene.reconcile()
    _dead_holder(scene)
    scene.ahead_ms -= back_s * 1000
    identity = scene.signal("ETHUSDT")
    for _ in range(9):
        attempt(scene.submit)
        if scene.signal_status(identity) == "executed":
            break
        scene.later(5)
        skip_time(5)
    assert scene.signal_status(identity) == "executed"


def test_a_living_holder_keeps_its_turn_when_the_local_clock_goes_back(
    scene: Scene, skip_time: Callable[[float], None]
) -> None:
    """It renews every few seconds by a clock that was set back: nobody else may trade."""
    scene.reconcile()
    _dead_holder(scene)
    scene.ahead_ms -= 600_000
    identity = scene.signal("ETHUSDT")
    for _ in range(9):
        scene.execute("UPDATE leases SET expires_wall_ms = :e", e=scene.context.wall_ms() + 30_000)
        attempt(scene.submit)
        scene.later(5)
        skip_time(5)
    assert scene.signal_status(identity) == "active" and scene.size("ETHUSDT") == 0


def test_books_read_at_a_wrong_time_are_not_fresh_for_an_hour(scene: Scene) -> None:
    scene.reconcile()
    _off(scene, HOUR_S)
    scene.try_passes(1)
    scene.proxy.clear()
    scene.later(16 * 60)
    before = scene.proxy.asked(CLOSED)
    identity = scene.signal("ETHUSDT")
    attempt(scene.submit)
    assert scene.signal_status(identity) == "executed"
    assert scene.proxy.asked(CLOSED) > before, "the books are 16 minutes old, whatever the clock said then"


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
def test_a_pass_at_a_wrong_time_books_everything_once(scene: Scene, seconds: int) -> None:
    (identity,) = scene.enter("ETHUSDT")
    _off(scene, seconds)
    scene.try_passes(2)
    scene.close_by_hand("ETHUSDT")
    scene.try_passes(1)
    scene.proxy.clear()
    scene.passes(2)
    scene.require_equal_sums()
    assert scene.intent(identity)["status"] == "closed" and scene.states() == []


def test_a_daily_halt_of_tomorrow_does_not_begin_today(scene: Scene) -> None:
    """A pass that believes in tomorrow leaves nothing behind that shuts today's gates."""
    scene.enter("ETHUSDT")
    _off(scene, 15 * HOUR_S)
    scene.try_passes(1)
    scene.proxy.clear()
    scene.passes(1)
    identity = scene.signal("SOLUSDT")
    assert identity in scene.submit().executed


def test_a_venue_clock_that_jumps_for_a_moment_costs_no_signal(
    make_scene: Callable[..., Scene], skip_time: Callable[[float], None]
) -> None:
    """Real clocks: an hour ahead when asked for the first time. The order waits until the clock is right."""
    scene = make_scene(real_clock=True)
    scene.reconcile()
    _off(scene, HOUR_S, times=1)
    identity = scene.signal("ETHUSDT")
    for _ in range(4):
        attempt(scene.submit)
        if scene.signal_status(identity) == "executed":
            break
        skip_time(61)
    assert scene.signal_status(identity) == "executed"


@pytest.fixture
def play(sqlite: Database, tmp_path: Path) -> Iterator[Play]:
    """A session that trades."""
    with ExitStack() as stack:
        scene = open_scene(stack, sqlite)
        scene.later(40)
        one = Play(scene.running, sqlite, tmp_path, scene.running.url, *SYMBOLS)
        stack.callback(one.stop)
        assert until(lambda: one.is_trading)
        yield one


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
def test_a_session_goes_on_after_its_venues_clock_was_wrong_for_a_moment(play: Play, seconds: int) -> None:
    play.fault(where="GET /v5/market/time", clock_skew_ms=seconds * 1000)
    play.fault(where="ws:*", silence=True)
    until(lambda: False, within_s=1.5)
    play.running.faults.remove()
    close = play.next_close()
    assert until(lambda: play.has_looked(close), within_s=10), "silent after its clock was right again"
    assert play.error is None


def test_a_clock_that_is_an_hour_ahead_ends_no_signals_life(scene: Scene) -> None:
    scene.reconcile()
    identity = scene.signal("ETHUSDT")
    _off(scene, HOUR_S)
    report = scene.submit()
    assert report.expired == 0 and "two times" in report.stopped
    assert scene.signal_status(identity) == "active" and scene.size("ETHUSDT") == 0
    scene.proxy.clear()
    assert identity in scene.submit().executed


def test_a_signal_whose_life_is_over_expires(scene: Scene) -> None:
    scene.reconcile()
    identity = scene.signal("ETHUSDT")
    scene.later(scene.settings.signal_ttl_s + 1)
    assert scene.submit().expired == 1 and scene.signal_status(identity) == "expired"
