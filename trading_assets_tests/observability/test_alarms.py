"""Every alarm fires for what it watches, is resolved when that has gone, and is told once each; on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.chaos.session_process import select_coins
from trading_assets.cli.main import cli
from trading_assets.core.counters import API_REQUESTS, Counters
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, local_ms
from trading_assets.ledger import alarms, mirror, outbox, process_reports, switches
from trading_assets.ledger.alarms import Alarm, AlarmState, Found, _after
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import acquire, holder_of, release
from trading_assets.ledger.outbox import MessageFilter
from trading_assets.ledger.process_reports import ProcessReport
from trading_assets.ledger.risk import Cause, RiskState, StateChange, change_state
from trading_assets.ledger.tables import positions
from trading_assets.notifications.channels import channels_of
from trading_assets.observability import readings
from trading_assets.observability.alarms import RULES, Watch, _Requests
from trading_assets.trading import halt_file
from trading_assets.trading.context import trading_lease
from trading_assets_tests.wild_account.scene import Console, Scene, open_scene

HOOK = "json://127.0.0.1:9/hook"


class Watched:
    """A scene that is looked at, with a local clock of its own."""

    def __init__(self, scene: Scene, console: Console | None = None) -> None:
        self.scene, self.watch, self._console = scene, Watch(), console
        self.ahead_ms = 0

    @property
    def database(self) -> Database:
        return self.scene.database

    @property
    def wall_ms(self) -> int:
        return local_ms() + self.ahead_ms

    def text(self, *arguments: str) -> str:
        """What a command prints."""
        assert self._console is not None
        return self._console.text(*arguments)

    def look(self, seconds: float = 0) -> set[str]:
        """Look after so long. Return the alarms that fire."""
        self.ahead_ms += int(seconds * 1000)
        reading = readings.read(self.database, self.scene.settings, self.wall_ms)
        self.watch.look(self.database, reading)
        return {one.name for one in alarms.current(self.database, "main") if one.state is AlarmState.FIRING}

    def told(self) -> list[str]:
        """Titles of the messages of alarms, oldest first."""
        found = outbox.newest(self.database, "main", 100)
        return [one.message.title for one in reversed(found) if one.message.kind is Kind.ALARM]

    def reports(self, gauges: dict[str, float], counts: dict[tuple[str, ...], float] | None = None) -> None:
        """A session reports this."""
        report = ProcessReport("a", "main", "session", 1, self.wall_ms, counts or {}, gauges)
        if not process_reports.renew(self.database, report):
            process_reports.add(self.database, report)


@pytest.fixture
def watched(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        scene = open_scene(stack, database, notify_urls=(HOOK,))
        scene.enter("BTCUSDT")
        scene.passes(1)
        found = Watched(scene, Console(scene, monkeypatch, tmp_path / "limits"))
        lease = acquire(database, trading_lease("main"), "somebody", ttl_ms=30 * 86_400_000, wall_ms=local_ms())
        assert lease is not None
        # The scene's clock is ahead of the machine's.
        found.reports({"venue_ms": float(scene.now_ms())})
        assert found.look() == set()
        yield found


def unprotected(watched: Watched) -> Callable[[], object]:
    def set_stop(price: str | None) -> None:
        with watched.database.write() as connection:
            connection.execute(positions.update().values(stop_loss=price))

    set_stop(None)
    return lambda: watched.scene.passes(1)


def halted(watched: Watched) -> Callable[[], object]:
    assert "halted" in watched.text("halt", "a drill")

    def resume() -> None:
        halt_file.path_of(watched.scene.settings).unlink()
        over = StateChange(RiskState.ACTIVE, Cause.COMMAND, "over", "me", watched.scene.now_ms())
        assert change_state(watched.database, "main", over, unless=lambda now: now.state is RiskState.ACTIVE)

    return resume


def drawdown_near(watched: Watched) -> Callable[[], object]:
    equity = float(watched.scene.equities()[-1])
    lost = round(equity * 0.17, 2)
    statement = (
        "INSERT INTO equity (account, equity, wallet_balance, available, unrealised_pnl, peak, transferred, time_ms, "
        "unexplained) SELECT account, :now, wallet_balance, available, unrealised_pnl, peak, '0', time_ms, '0' "
        "FROM equity ORDER BY equity_id DESC LIMIT 1"
    )
    watched.scene.execute(statement, now=str(equity - lost))
    return lambda: watched.scene.execute(statement, now=str(equity))


def no_session(watched: Watched) -> Callable[[], object]:
    held = holder_of(watched.database, trading_lease("main"), wall_ms=watched.wall_ms)
    assert held is not None and release(watched.database, held)
    return lambda: acquire(
        watched.database, trading_lease("main"), "next", ttl_ms=30 * 86_400_000, wall_ms=watched.wall_ms
    )


def books_old(watched: Watched) -> Callable[[], object]:
    watched.reports({"venue_ms": float(watched.scene.now_ms() + 300_000)})
    return lambda: watched.reports({"venue_ms": float(watched.scene.now_ms())})


def no_selection(watched: Watched) -> Callable[[], object]:
    now_ms = watched.scene.now_ms()
    select_coins(watched.database, now_ms - 3 * HOUR_MS, ["BTCUSDT"], "60m")
    return lambda: select_coins(watched.database, now_ms, ["BTCUSDT"], "60m")


def backlog(watched: Watched) -> Callable[[], object]:
    (signal,) = watched.scene.rows("SELECT * FROM entry_signals")
    for number in range(101):
        row = {**signal, "signal_id": f"x{number}", "status": "active", "order_link_id": None}
        watched.scene.execute(
            f"INSERT INTO entry_signals ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", **row
        )
    return lambda: watched.scene.execute("UPDATE entry_signals SET status = 'expired' WHERE status = 'active'")


def stream_silent(watched: Watched) -> Callable[[], object]:
    venue = {"venue_ms": float(watched.scene.now_ms())}
    watched.reports({**venue, "heard_wall_ms": float(watched.wall_ms - 90_000)})
    return lambda: watched.reports({**venue, "heard_wall_ms": float(watched.wall_ms)})


def outbox_stuck(watched: Watched) -> Callable[[], object]:
    (channel,) = channels_of(watched.scene.settings)
    outbox.add_all(watched.database, "main", [(Message("a fill", "", Kind.FILL), watched.wall_ms)])
    outbox.enqueue(
        watched.database, "main", channel.name, wall_ms=watched.wall_ms, wanted=MessageFilter(frozenset({Kind.FILL}))
    )
    watched.ahead_ms += 700_000
    watched.reports({"venue_ms": float(watched.scene.now_ms())})

    def deliver() -> None:
        delivery = outbox.next_waiting(watched.database, "main", channel.name)
        while delivery is not None:
            with watched.database.write() as connection:
                outbox.mark_delivered(connection, delivery, watched.wall_ms)
            delivery = outbox.next_waiting(watched.database, "main", channel.name)

    return deliver


def mirror_stuck(watched: Watched) -> Callable[[], object]:
    now = {"signals_since_ms": 0, "hours_since_ms": 0}
    assert mirror.begin(watched.database, "main", wall_ms=watched.wall_ms, **now)
    assert mirror.oldest(watched.database, 10)
    mirror.mark_failed(watched.database, "the table is not there")
    watched.ahead_ms += 700_000
    watched.reports({"venue_ms": float(watched.scene.now_ms())})
    changes = mirror.oldest(watched.database, 100)
    return lambda: mirror.mark_sent(watched.database, changes, items=len(changes), wall_ms=watched.wall_ms)


def disk_low(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    usage = shutil.disk_usage("/")
    full = usage._replace(free=usage.total // 100)
    monkeypatch.setattr(readings.shutil, "disk_usage", lambda _: full)
    return lambda: monkeypatch.setattr(readings.shutil, "disk_usage", lambda _: usage._replace(free=usage.total // 2))


def key_expires(watched: Watched) -> Callable[[], object]:
    venue = {"venue_ms": float(watched.scene.now_ms())}
    watched.reports({**venue, "key_expires_ms": float(watched.scene.now_ms() + 3 * DAY_MS)})
    return lambda: watched.reports({**venue, "key_expires_ms": float(watched.scene.now_ms() + 90 * DAY_MS)})


def certificate_expires(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    def shows(expires_ms: int) -> None:
        monkeypatch.setattr(readings.certificates.PROCESS, "expires_ms", lambda _url: expires_ms)

    shows(local_ms() + 3 * DAY_MS)
    return lambda: shows(local_ms() + 90 * DAY_MS)


def api_errors(watched: Watched) -> Callable[[], object]:
    answered, failed = (API_REQUESTS, "place_order", "answered"), (API_REQUESTS, "place_order", "failed")
    venue = {"venue_ms": float(watched.scene.now_ms())}
    watched.reports(venue, {answered: 100.0, failed: 10.0})

    def answers() -> None:
        watched.reports(venue, {answered: 1_000.0, failed: 10.0})
        watched.look(400)
        watched.reports({"venue_ms": float(watched.scene.now_ms())}, {answered: 1_900.0, failed: 10.0})

    return answers


FAULTS = {one.__name__: one for one in (
    unprotected, halted, drawdown_near, no_session, books_old, no_selection, backlog, stream_silent, outbox_stuck,
    mirror_stuck, disk_low, key_expires, certificate_expires, api_errors,
)}  # fmt: skip


PATCHING = {"disk_low", "certificate_expires"}
"""What no scene can have: they replace what is asked."""


def test_every_alarm_has_its_fault() -> None:
    assert FAULTS.keys() == {*RULES, "api_errors"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_it_fires_and_is_resolved_and_told_once_each(
    watched: Watched, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mend = FAULTS[name](watched, monkeypatch) if name in PATCHING else FAULTS[name](watched)  # type: ignore[operator]
    waits = RULES[name].lasts_s if name in RULES else 0
    first = watched.look()
    assert first == (set() if waits else {name})
    if waits:
        watched.ahead_ms += int(waits * 1000) + 1000
        assert name in watched.look()
    watched.look()
    mend()
    assert name not in watched.look()
    watched.look()
    assert [title for title in watched.told() if name in title] == [f"alarm: {name}", f"resolved: {name}"]
    (row,) = [one for one in alarms.current(watched.database, "main") if one.name == name]
    assert row.state is AlarmState.RESOLVED


@pytest.mark.slow
def test_an_account_that_is_off_is_not_missed(sqlite: Database) -> None:
    with ExitStack() as stack:
        scene = open_scene(stack, sqlite)
        scene.enter("BTCUSDT")
        scene.passes(1)
        watched = Watched(scene)
        assert watched.look() == set()
        assert watched.look(121) >= {"no_session"}
        switches.set_switch(sqlite, "main", on=False, actor="me", reason="a rest", wall_ms=local_ms())
        assert watched.look(500) == set()


def test_two_lookers_tell_it_once(database: Database) -> None:
    found = {"halted": Found(Severity.CRITICAL, "why")}
    for wall_ms in (1_000, 1_001, 2_000):
        alarms.step(database, "main", found, wall_ms)
    alarms.step(database, "other", found, 1_000)
    assert len(outbox.newest(database, "main", 9)) == 1 and len(outbox.newest(database, "other", 9)) == 1
    alarms.step(database, "main", {}, 3_000)
    alarms.step(database, "main", {}, 3_000)
    assert len(outbox.newest(database, "main", 9)) == 2
    assert alarms.step(database, "main", {}, 3_001 + alarms.KEPT_MS) == []
    assert alarms.current(database, "main") == []


def test_what_could_not_be_looked_for_stays(sqlite: Database) -> None:
    alarms.step(sqlite, "main", {"api_errors": Found(Severity.WARNING, "why")}, 1_000)
    assert alarms.step(sqlite, "main", {}, 2_000, unknown=["api_errors"]) == []
    assert [one.state for one in alarms.current(sqlite, "main")] == [AlarmState.FIRING]


@given(st.lists(st.tuples(st.booleans(), st.integers(-600_000, 600_000)), max_size=30), st.integers(0, 120))
def test_it_fires_only_after_it_lasted_whatever_the_clock_does(looks: list[tuple[bool, int]], lasts_s: int) -> None:
    """Between two times of firing it was resolved, and a clock that goes back keeps nothing pending for ever."""
    was: Alarm | None = None
    wall_ms, began, history = 10_000_000, None, list[AlarmState]()
    for there, moved in looks:
        wall_ms += moved
        now = Found(Severity.WARNING, "it", lasts_s) if there else None
        was = _after("main", "it", was, now, wall_ms)
        began = None if not there else wall_ms if began is None else min(began, wall_ms)
        if was is not None:
            history.append(was.state)
        if there:
            assert was is not None and was.state is not AlarmState.RESOLVED
            if began is not None and wall_ms - began >= lasts_s * 1000:
                assert was.state is AlarmState.FIRING
        else:
            assert was is None or was.state is AlarmState.RESOLVED


@pytest.mark.slow
def test_the_command_shows_what_fires_and_ends_with_1(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    console = Console(scene, monkeypatch, tmp_path / "limits")
    scene.enter("BTCUSDT")
    scene.passes(1)
    halted(Watched(scene, console))
    shown = console.run("alarms")
    assert shown.exit_code == 1 and "halted" in shown.output and "a drill" in shown.output
    assert '"name": "halted"' in console.run("alarms", "--json").output


def test_nothing_is_wrong_on_an_empty_home() -> None:
    shown = CliRunner().invoke(cli, ["alarms"])
    assert shown.exit_code == 0 and "no alarm" in shown.output


def report(counters: Counters) -> ProcessReport:
    return ProcessReport("a", "main", "session", 1, 1, counters.read())


def test_counts_are_of_the_window_alone() -> None:
    """An hour of good answers hides no failures of the last minutes."""
    requests = _Requests()
    counters = Counters()
    for minute in range(60):
        counters.add(API_REQUESTS, "get_tickers", "answered", amount=1_000)
        assert requests.failing([report(counters)], minute * 60_000) is None
    counters.add(API_REQUESTS, "get_tickers", "timed_out", amount=400)
    assert "400 of" in str(requests.failing([report(counters)], 60 * 60_000))
