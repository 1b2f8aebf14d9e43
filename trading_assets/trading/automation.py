"""When to launch which job: the decisions of schedules and sensors. Pure, without Dagster.

A `Skip` has the reason, so that the history of ticks can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms, hour_key, iso
from trading_assets.ledger.selections import chose_no_coin
from trading_assets.trading.decide.entry import newest_close_ms
from trading_assets.trading.session.lease import Trader

SETTLE_MS = 1_000
"""The exchange shows a candle as final a moment after its end."""

RETRY_SIGNALS_MS = 5_000
BEGINS_WITHIN_S = 300.0
"""A session has the lease within this time of being asked for, or its process is dead."""

TRIES = 3
"""Of a job, in a row: then a person is told."""

NOT_SELECTED = "no hour is selected yet"

SESSIONS_LOOKED_AT = 8
"""Newest runs among which failures are counted: enough for the longest rest."""

RECONCILE_BUSY_MS = 60_000
RECONCILE_IDLE_MS = 600_000
CATCH_UP_AFTER_MS = 5 * 60_000
"""The catch-up sensor leaves an hour to the hourly schedule for this time."""


@dataclass(frozen=True)
class Restarts:
    """The one policy of restarts: three tries, then a person is told and nothing more is started.

    Only what guards money goes on: after a rest, twice as long after each further failure. A planned stop (a process
    that was asked to end) is no failure.

    Attributes:
        rest_s: after `TRIES` failures in a row; None: the next try is a person's.
    """

    rest_s: float | None = None
    longest_rest_s: float = 600.0

    def refusal(self, what: str, failed_ago_s: Sequence[float]) -> str:
        """Why nothing is started now; empty where a run may be.

        Args:
            what: the runs, for the reason: "sessions".
            failed_ago_s: how long ago each of the newest runs failed, the newest first, up to the first that did not.
        """
        count = len(failed_ago_s)
        if count < TRIES:
            return ""
        if self.rest_s is None:
            return f"{what} was tried {count} times already; mend the cause and start it by hand"
        rest_s = min(self.rest_s * 2 ** (count - TRIES), self.longest_rest_s)
        if failed_ago_s[0] >= rest_s:
            return ""
        return (
            f"the last {count} {what} failed; the next one is started in {rest_s - failed_ago_s[0]:.0f} s, or by hand"
        )


GRIDS_MS = 30_000
"""A grid, or a DCA plan, that nobody has looked after for so long is looked after by a run."""

RESTARTS: Mapping[str, Restarts] = {
    "research": Restarts(),
    "select": Restarts(),
    "reconcile": Restarts(rest_s=600.0),
    "maintain_grids": Restarts(rest_s=60.0),
    "maintain_dca": Restarts(rest_s=60.0),
    "trade": Restarts(rest_s=30.0),
}
"""Jobs that are started again by themselves. Any other job's failure is told, and it is started by a person, or by its
schedule when that is due."""


@dataclass(frozen=True)
class Skip:
    """Nothing to launch, and the reason.

    Attributes:
        is_trouble: something is wrong that a person should see: `status` and `doctor` show it, too. None: it cannot be
            told, as a run is in progress.
    """

    reason: str
    is_trouble: bool | None = False


@dataclass(frozen=True)
class Launch:
    """Launch a run. `close_ms` is the newest candle close that it handles."""

    reason: str
    close_ms: int


@dataclass(frozen=True)
class Research:
    """Research an hour."""

    hour_ms: int
    reason: str


@dataclass(frozen=True)
class BlockedHours:
    """What becomes of blocked hours: one to research again or none, and why.

    Attributes:
        judged: under which code, strategies and settings each was last found blocked.
    """

    hour_ms: int | None
    reason: str
    judged: Mapping[int, str]


@dataclass(frozen=True)
class Reselect:
    """Hours to select again, each with the storage id of the backtest write that asks for it."""

    hours: Mapping[int, int]


def decide_trade(
    *,
    now_ms: int,
    selected_ms: int | None,
    timeframes: Iterable[str],
    handled_ms: int,
    waiting_signals: int,
    run_in_progress: bool,
) -> Launch | Skip:
    """Launch when a candle of a selected timeframe has closed since `handled_ms`, or a signal waits.

    Args:
        selected_ms: hour of the newest selection; None where there is none yet.
        timeframes: of its coins; none where it chose no coin.
        handled_ms: the close up to which candles were handled.
    """
    if run_in_progress:
        return Skip("a trade run is in progress")
    selected = sorted({Timeframe(value) for value in timeframes}, key=lambda timeframe: timeframe.ms)
    if selected_ms is None:
        return Skip(NOT_SELECTED)
    settled = now_ms - SETTLE_MS
    closed = [timeframe for timeframe in selected if newest_close_ms(timeframe, settled) > handled_ms]
    if closed:
        close = max(newest_close_ms(timeframe, settled) for timeframe in closed)
        return Launch(f"{', '.join(closed)} closed at {iso(close)}", close)
    if waiting_signals and now_ms - handled_ms >= RETRY_SIGNALS_MS:
        return Launch(f"{waiting_signals} signals wait for execution", handled_ms)
    if not selected:
        return Skip(f"{chose_no_coin(selected_ms)}: no new signal before the next selection")
    following = min(newest_close_ms(timeframe, settled) + timeframe.ms for timeframe in selected)
    return Skip(f"no candle of {', '.join(selected)} has closed since {iso(handled_ms)}; next at {iso(following)}")


@dataclass(frozen=True)
class SessionRun:
    """A run of the trade job that has not ended.

    Attributes:
        serves: the selection that it trades on; None before it is tagged.
        age_s: since it was asked for.
        has_lost: it has traded, and its lease ran out: nothing was heard of it for longer than that.
    """

    run: str
    serves: str | None
    age_s: float
    has_lost: bool = False


@dataclass(frozen=True)
class StartSession:
    """Start a session. `dead` are runs that count as running although their process is gone."""

    reason: str
    dead: tuple[str, ...] = ()


def decide_session(
    *,
    selected: str | None,
    trader: Trader | None,
    runs: Sequence[SessionRun],
    failed_ago_s: Sequence[float],
    empty_ms: int | None = None,
) -> StartSession | Skip:
    """Start a session when none is live, or when the live one trades on an older selection.

    The lease tells which session lives: a run whose process was killed may count as running for long. One that has lost
    its lease is replaced at once, and counts as dead when another one trades: until then it may still come back.

    Args:
        selected: key of the newest selection.
        trader: who holds the lease on trading.
        failed_ago_s: how long ago each of the newest runs failed, the newest first, up to the first that did not.
        empty_ms: hour of the newest selection where it chose no coin: a session on it looks for no signal, and after
            what is open.
    """
    if selected is None:
        return Skip(NOT_SELECTED)
    if trader is not None and trader.serves == selected:
        if empty_ms is not None:
            return Skip(f"{chose_no_coin(empty_ms)}: {trader} looks for no signal, and after what is open")
        return Skip(f"{trader} trades on the selection {selected}")
    others = [run for run in runs if trader is None or run.run != trader.run]
    lost_age_s = min((run.age_s for run in others if run.has_lost), default=BEGINS_WITHIN_S)
    # Who was asked for before the one that traded last does not get ready any more.
    beginning = [run for run in others if run.age_s < min(lost_age_s, BEGINS_WITHIN_S)]
    if beginning:
        waits = f"; {trader} trades until then" if trader is not None else ""
        return Skip(f"run {beginning[0].run[:8]} gets ready{waits}", is_trouble=None)
    refusal = RESTARTS["trade"].refusal("sessions", failed_ago_s)
    if refusal:
        return Skip(refusal, is_trouble=True)
    dead = tuple(run.run for run in others if not run.has_lost or trader is not None)
    if trader is not None:
        return StartSession(f"{trader} trades on {trader.serves}, the newest selection is {selected}", dead)
    what = f"; {chose_no_coin(empty_ms)}, it looks after what is open" if empty_ms is not None else ""
    return StartSession(f"nobody trades on the selection {selected}{what}", dead)


def decide_reconcile(
    *,
    now_ms: int,
    reconciled_ms: int | None,
    open_positions: int,
    unresolved: int,
    run_in_progress: bool,
    failed_ago_s: Sequence[float] = (),
) -> Launch | Skip:
    """Launch every minute while something is open, else every ten; after too many failures in a row after a rest only.

    Args:
        failed_ago_s: how long ago each of the newest runs failed, the newest first, up to the first that did not.
    """
    if run_in_progress:
        return Skip("a reconcile run is in progress", is_trouble=None)
    refusal = RESTARTS["reconcile"].refusal("reconciliations", failed_ago_s)
    if refusal:
        return Skip(f"{refusal}. No order is sent on old books", is_trouble=True)
    if reconciled_ms is None:
        return Launch("the books were never read", now_ms)
    busy = open_positions + unresolved > 0
    every = RECONCILE_BUSY_MS if busy else RECONCILE_IDLE_MS
    age = now_ms - reconciled_ms
    state = f"{open_positions} positions, {unresolved} unresolved orders, books read {age / 1000:.0f} s ago"
    return Launch(state, now_ms) if age >= every else Skip(f"{state}; due every {every // 1000} s")


def decide_grids(
    *, now_ms: int, read_ms: Sequence[int], run_in_progress: bool, failed_ago_s: Sequence[float] = ()
) -> Launch | Skip:
    """Launch where a grid was not looked after for a while: no session trades, or it cannot.

    Args:
        read_ms: when each grid that has not ended was looked after last, UTC ms.
        failed_ago_s: how long ago each of the newest runs failed, the newest first, up to the first that did not.
    """
    return _decide_kept("maintain_grids", "grid", now_ms, read_ms, run_in_progress, failed_ago_s)


def decide_dca(
    *, now_ms: int, read_ms: Sequence[int], run_in_progress: bool, failed_ago_s: Sequence[float] = ()
) -> Launch | Skip:
    """Launch where a DCA plan was not looked after for a while; see `decide_grids`."""
    return _decide_kept("maintain_dca", "DCA plan", now_ms, read_ms, run_in_progress, failed_ago_s)


def _decide_kept(
    job: str, what: str, now_ms: int, read_ms: Sequence[int], run_in_progress: bool, failed_ago_s: Sequence[float]
) -> Launch | Skip:
    if not read_ms:
        return Skip(f"there is no {what}")
    if run_in_progress:
        return Skip("a run looks after them", is_trouble=None)
    refusal = RESTARTS[job].refusal("runs", failed_ago_s)
    if refusal:
        return Skip(f"{refusal}. Their stops wait at the exchange", is_trouble=True)
    age = now_ms - min(read_ms)
    state = f"{len(read_ms)} {what}s, looked after {age / 1000:.0f} s ago"
    if 0 <= age < GRIDS_MS:
        return Skip(f"{state}; due every {GRIDS_MS // 1000} s")
    return Launch(state, now_ms)


RESTART_LIMIT = "restart limit reached"
"""Ends the title of the message that no further try follows at once."""


def failure_text(job: str, error: str, *, tries: int) -> tuple[str, str] | None:
    """Return title and text of the message on a failed run; None after the limit of restarts was notified.

    Args:
        tries: how many runs of the job (of the hour, where it has hours) have failed in a row, this one included.
    """
    restarts = RESTARTS.get(job)
    if restarts is None:
        return f"run of {job} failed", error
    if tries < TRIES:
        return f"run of {job} failed, try {tries} of {TRIES}", error
    if tries > TRIES:
        return None
    text = "It is tried on, with rests between." if restarts.rest_s is not None else "Look at it; start it by hand."
    return f"run of {job} failed {TRIES} times: {RESTART_LIMIT}", f"{error}\n{text}"


def decide_selection(
    *,
    backtest_writes: Mapping[int, int],
    selection_writes: Mapping[int, int],
    run_in_progress: bool,
    tries: Mapping[int, int] | None = None,
) -> Reselect | Skip:
    """Select an hour again when its newest backtest was written after its selection, up to `TRIES` times.

    Args:
        backtest_writes, selection_writes: newest storage id of a write, by hour. An hour never selected is left to
            research, which selects it as its last step.
        tries: how often each hour was selected on its newest backtests.
    """
    if run_in_progress:
        return Skip("research or selection is running", is_trouble=None)
    tries = tries or {}
    stale = {
        hour: backtest_writes[hour]
        for hour, selected in sorted(selection_writes.items())
        if backtest_writes.get(hour, 0) > selected
    }
    tired = [hour for hour in stale if tries.get(hour, 0) >= TRIES]
    if len(stale) > len(tired):
        return Reselect({hour: written for hour, written in stale.items() if hour not in tired})
    if tired:
        hours = ", ".join(hour_key(hour) for hour in tired)
        return Skip(
            f"the selection of {hours} was tried {TRIES} times on its newest backtests; see the failed runs of "
            "select, mend the cause and start select by hand",
            is_trouble=True,
        )
    if not selection_writes:
        return Skip("no recent hour is selected yet")
    return Skip(f"no backtest is newer than the selection of the {len(selection_writes)} recent hours")


def decide_research(
    *,
    now_ms: int,
    selected_hours: Iterable[int],
    tried_hours: Sequence[int],
    run_in_progress: bool,
    blocked: str | None = None,
) -> Research | Skip:
    """Research the newest ended hour if it was never selected and the hourly schedule had its time.

    Args:
        selected_hours: recent hours with a selection.
        tried_hours: the hour of each earlier try.
        blocked: what blocks the newest hour, and what to do.
    """
    if run_in_progress:
        return Skip("research is running", is_trouble=None)
    newest = floor_ms(now_ms, HOUR_MS) - HOUR_MS
    selected = set(selected_hours)
    if newest in selected:
        if blocked:
            text = f"the hour that ended at {iso(as_of_ms(newest))} is selected, but blocked, nothing of it is traded: "
            return Skip(text + blocked, is_trouble=True)
        return Skip(f"the hour that ended at {iso(as_of_ms(newest))} is selected")
    tries, why = tried_hours.count(newest), f": {blocked}" if blocked else ""
    what = f"research of the hour that ended at {iso(as_of_ms(newest))}"
    refusal = RESTARTS["research"].refusal(what, [0.0] * tries)
    if refusal:
        return Skip(refusal + why, is_trouble=True)
    if selected and now_ms - as_of_ms(newest) < CATCH_UP_AFTER_MS:
        return Skip("the hourly schedule has its first minutes")
    return Research(newest, f"the hour that ended at {iso(as_of_ms(newest))} is not selected")


def decide_blocked(
    *,
    blocked: Mapping[int, str],
    judged: Mapping[int, str],
    selected_hours: Iterable[int],
    state: str,
    run_in_progress: bool,
) -> BlockedHours:
    """Research a blocked hour once more: its check passes by now, or code, strategies or settings have changed.

    Args:
        blocked: what blocks each hour, and what to do.
        judged: the `judged` of the decision before; an hour that is not in it was blocked since then.
        selected_hours: recent hours with a selection.
        state: digest of what is in force now.
    """
    selected = set(selected_hours)
    opened = [hour for hour in judged if hour not in blocked and hour not in selected]
    mended = [hour for hour in blocked if judged.get(hour, state) != state]
    kept = {hour: judged.get(hour, state) for hour in blocked}
    told = "; ".join(f"hour {hour_key(hour)} is blocked: {blocked[hour]}" for hour in sorted(blocked, reverse=True))
    if run_in_progress:
        return BlockedHours(None, f"research is running; {told or 'no recent hour is blocked'}", {**judged, **kept})
    if opened:
        hour = max(opened)
        rest = {other: judged[other] for other in opened if other != hour}
        return BlockedHours(hour, f"the checks of {hour_key(hour)} pass by now", {**rest, **kept})
    if mended:
        hour = max(mended)
        reason = f"code, strategies or settings have changed since: hour {hour_key(hour)} is blocked: {blocked[hour]}"
        return BlockedHours(hour, reason, {**kept, hour: state})
    return BlockedHours(None, f"nothing has changed since: {told}" if told else "no recent hour is blocked", kept)
