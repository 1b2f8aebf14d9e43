"""When to launch what: decision tables of schedules and sensors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.trading.automation import (
    BEGINS_WITHIN_S,
    CATCH_UP_AFTER_MS,
    RESTARTS,
    SESSIONS_LOOKED_AT,
    TRIES,
    Launch,
    Research,
    Reselect,
    Restarts,
    SessionRun,
    Skip,
    StartSession,
    decide_reconcile,
    decide_research,
    decide_selection,
    decide_session,
    decide_trade,
    failure_text,
)
from trading_assets.trading.session.lease import Trader

FULL = 500_000 * HOUR_MS
RESEARCH_TRIES = TRIES
SESSION_REST_S, SESSION_LONGEST_REST_S = 30.0, RESTARTS["trade"].longest_rest_s
RECONCILE_REST_S = 600.0


@pytest.mark.parametrize(
    ("now_ms", "timeframes", "handled_ms", "waiting", "running", "close_ms", "says"),
    [
        (FULL + 1000, ["60m"], FULL - HOUR_MS, 0, False, FULL, "60m closed at"),
        (FULL + 999, ["60m"], FULL - HOUR_MS, 0, False, None, "no candle of 60m has closed since"),
        (FULL + 1000, ["60m"], FULL, 0, False, None, "no candle"),
        (FULL + 1000, ["60m"], FULL - HOUR_MS, 0, True, None, "in progress"),
        (FULL + 1000, [], FULL - HOUR_MS, 0, False, None, "hour 2027-01-15-07:00 selected no coin: no new signal"),
        (FULL + 1000, [], FULL - HOUR_MS, 3, False, FULL - HOUR_MS, "3 signals wait"),
        (FULL + 301_000, ["60m", "5m", "5m"], FULL, 0, False, FULL + 300_000, "5m closed at"),
        (FULL + 1000, ["240m", "1m"], FULL - MINUTE_MS, 0, False, FULL, "1m, 240m closed at"),
        (FULL + 5000, ["60m"], FULL, 2, False, FULL, "2 signals wait"),
        (FULL + 4999, ["60m"], FULL, 2, False, None, "no candle"),
        (FULL + 5000, ["60m"], FULL, 2, True, None, "in progress"),
    ],
)
def test_trading_follows_the_closes_of_the_selected_timeframes(
    now_ms: int,
    timeframes: list[str],
    handled_ms: int,
    waiting: int,
    running: bool,
    close_ms: int | None,
    says: str,
) -> None:
    decision = decide_trade(
        now_ms=now_ms,
        selected_ms=NEWEST,
        timeframes=timeframes,
        handled_ms=handled_ms,
        waiting_signals=waiting,
        run_in_progress=running,
    )
    assert says in decision.reason
    assert isinstance(decision, Skip) if close_ms is None else decision == Launch(decision.reason, close_ms)


@given(
    start_ms=st.integers(FULL, FULL + HOUR_MS),
    steps=st.lists(st.integers(1, 400_000), max_size=40),
    timeframes=st.sets(st.sampled_from(["1m", "5m", "60m", "240m"]), min_size=1),
)
def test_no_close_is_handled_twice_and_none_is_left_out(start_ms: int, steps: list[int], timeframes: set[str]) -> None:
    now, handled = start_ms, start_ms - 1000
    for step in steps:
        now += step
        decision = decide_trade(
            now_ms=now,
            selected_ms=NEWEST,
            timeframes=timeframes,
            handled_ms=handled,
            waiting_signals=0,
            run_in_progress=False,
        )
        lengths = [int(value[:-1]) * MINUTE_MS for value in timeframes]
        newest = max((now - 1000) // length * length for length in lengths)
        if newest > handled:
            assert isinstance(decision, Launch)
            assert decision.close_ms == newest
            handled = decision.close_ms
        else:
            assert isinstance(decision, Skip)


@pytest.mark.parametrize(
    ("age_ms", "positions", "unresolved", "running", "launches"),
    [
        (None, 0, 0, False, True),
        (None, 0, 0, True, False),
        (59_999, 1, 0, False, False),
        (60_000, 1, 0, False, True),
        (60_000, 0, 1, False, True),
        (60_000, 0, 0, False, False),
        (599_999, 0, 0, False, False),
        (600_000, 0, 0, False, True),
        (600_000, 1, 1, True, False),
    ],
)
def test_books_are_read_every_minute_while_something_is_open(
    age_ms: int | None, positions: int, unresolved: int, running: bool, launches: bool
) -> None:
    decision = decide_reconcile(
        now_ms=FULL,
        reconciled_ms=None if age_ms is None else FULL - age_ms,
        open_positions=positions,
        unresolved=unresolved,
        run_in_progress=running,
    )
    assert isinstance(decision, Launch) is launches
    if isinstance(decision, Launch):
        assert decision.close_ms == FULL


@pytest.mark.parametrize(
    ("backtests", "selected", "running", "hours"),
    [
        ({1: 10}, {1: 9}, False, {1: 10}),
        ({1: 10}, {1: 10}, False, None),
        ({1: 10}, {1: 11}, False, None),
        ({1: 10}, {1: 9}, True, None),
        ({1: 10}, {}, False, None),
        ({}, {1: 9}, False, None),
        ({1: 10, 2: 20, 3: 30}, {1: 9, 2: 21, 3: 29}, False, {1: 10, 3: 30}),
    ],
)
def test_an_hour_is_selected_again_after_a_newer_backtest(
    backtests: dict[int, int], selected: dict[int, int], running: bool, hours: dict[int, int] | None
) -> None:
    decision = decide_selection(backtest_writes=backtests, selection_writes=selected, run_in_progress=running)
    assert isinstance(decision, Skip) if hours is None else decision == Reselect(hours)


def test_a_blocked_hour_is_named_where_research_gives_up() -> None:
    decision = decide_research(
        now_ms=FULL,
        selected_hours=(),
        tried_hours=[FULL - HOUR_MS] * 3,
        run_in_progress=False,
        blocked="SCHEMA of market_scan failed",
    )
    assert isinstance(decision, Skip) and decision.reason.endswith("by hand: SCHEMA of market_scan failed")


def test_a_selection_that_fails_is_tried_three_times_and_again_on_newer_backtests() -> None:
    """Sixty looks once were sixty runs and sixty messages."""
    tries, started, said = 0, 0, ""
    for _ in range(60):
        decision = decide_selection(
            backtest_writes={FULL: 200}, selection_writes={FULL: 100}, run_in_progress=False, tries={FULL: tries}
        )
        if isinstance(decision, Reselect):
            tries, started = tries + 1, started + 1
        else:
            said = decision.reason
    assert started == 3
    assert "tried 3 times" in said and "start select by hand" in said
    assert sum(failure_text("select", "boom", tries=number) is not None for number in range(1, 61)) == 3
    both = decide_selection(
        backtest_writes={1: 200, 2: 300}, selection_writes={1: 100, 2: 100}, run_in_progress=False, tries={1: 3, 2: 2}
    )
    assert both == Reselect({2: 300})


NEWEST = FULL - HOUR_MS


@pytest.mark.parametrize(
    ("late_ms", "selected", "tried", "running", "researches"),
    [
        (0, [], [], False, True),
        (0, [NEWEST - HOUR_MS], [], False, False),
        (CATCH_UP_AFTER_MS - 1, [NEWEST - HOUR_MS], [], False, False),
        (CATCH_UP_AFTER_MS, [NEWEST - HOUR_MS], [], False, True),
        (CATCH_UP_AFTER_MS, [NEWEST], [], False, False),
        (CATCH_UP_AFTER_MS, [NEWEST - HOUR_MS], [NEWEST] * (RESEARCH_TRIES - 1), False, True),
        (CATCH_UP_AFTER_MS, [NEWEST - HOUR_MS], [NEWEST] * RESEARCH_TRIES, False, False),
        (CATCH_UP_AFTER_MS, [], [NEWEST - HOUR_MS] * RESEARCH_TRIES, False, True),
        (CATCH_UP_AFTER_MS, [], [], True, False),
        (HOUR_MS - 1, [NEWEST - HOUR_MS], [], False, True),
    ],
)
def test_an_hour_that_the_schedule_missed_is_researched_three_times_at_most(
    late_ms: int, selected: list[int], tried: list[int], running: bool, researches: bool
) -> None:
    decision = decide_research(
        now_ms=FULL + late_ms, selected_hours=selected, tried_hours=tried, run_in_progress=running
    )
    assert isinstance(decision, Research) is researches
    assert decision.reason
    if isinstance(decision, Research):
        assert decision.hour_ms == NEWEST


OLD, NEW = "2026-03-02T01:00:00Z#aa", "2026-03-02T02:00:00Z#bb"
YOUNG, AGED = BEGINS_WITHIN_S - 1, BEGINS_WITHIN_S


@pytest.mark.parametrize(
    ("selected", "trader", "runs", "failed", "says", "dead"),
    [
        (None, None, [], [], "no hour is selected", None),
        (NEW, None, [], [], "nobody trades", ()),
        (NEW, Trader("a", NEW), [SessionRun("a", NEW, 9.0)], [], "run a trades on the selection", None),
        (NEW, Trader("a", OLD), [SessionRun("a", OLD, 4000.0)], [], "run a trades on 2026-03-02T01:00:00Z#aa", ()),
        (
            NEW,
            Trader("a", OLD),
            [SessionRun("a", OLD, 4000.0), SessionRun("b", None, YOUNG)],
            [],
            "run b gets ready; run a trades until then",
            None,
        ),
        (NEW, None, [SessionRun("b", None, YOUNG)], [], "run b gets ready", None),
        (NEW, None, [SessionRun("a", OLD, AGED)], [], "nobody trades", ("a",)),
        (NEW, Trader("b", OLD), [SessionRun("a", OLD, AGED), SessionRun("b", OLD, AGED)], [], "run b trades", ("a",)),
        (NEW, Trader("elsewhere", NEW), [], [], "run elsewher trades", None),
        # It has traded and was killed while young: replaced at once, and dead when another one trades.
        (NEW, None, [SessionRun("a", NEW, 40.0, has_lost=True)], [], "nobody trades", ()),
        (NEW, None, [SessionRun("a", NEW, 40.0, has_lost=True), SessionRun("b", None, 3.0)], [], "run b gets", None),
        (
            NEW,
            None,
            [SessionRun("z", NEW, 80.0), SessionRun("a", NEW, 40.0, has_lost=True)],
            [],
            "nobody trades",
            ("z",),
        ),
        (
            NEW,
            Trader("b", OLD),
            [SessionRun("a", OLD, 40.0, has_lost=True), SessionRun("b", OLD, 30.0)],
            [],
            "run b trades",
            ("a",),
        ),
        (NEW, None, [], [30.0, 60.0], "nobody trades", ()),
        (
            NEW,
            None,
            [],
            [SESSION_REST_S - 1, 60.0, 90.0],
            "the last 3 sessions failed; the next one is started in 1 s",
            None,
        ),
        (NEW, None, [], [SESSION_REST_S, 60.0, 90.0], "nobody trades", ()),
        (NEW, None, [], [2 * SESSION_REST_S - 1, *[600.0] * 3], "the last 4 sessions failed", None),
        (NEW, None, [], [2 * SESSION_REST_S, *[600.0] * 3], "nobody trades", ()),
        (NEW, None, [], [SESSION_LONGEST_REST_S - 1, *[900.0] * (SESSIONS_LOOKED_AT - 1)], "sessions failed", None),
        (NEW, None, [], [SESSION_LONGEST_REST_S, *[900.0] * (SESSIONS_LOOKED_AT - 1)], "nobody trades", ()),
    ],
)
def test_a_session_is_started_when_none_lives_or_a_newer_selection_is_there(
    selected: str | None,
    trader: Trader | None,
    runs: list[SessionRun],
    failed: list[float],
    says: str,
    dead: tuple[str, ...] | None,
) -> None:
    decision = decide_session(selected=selected, trader=trader, runs=runs, failed_ago_s=failed)
    assert says in decision.reason
    assert isinstance(decision, Skip) if dead is None else decision == StartSession(decision.reason, dead)


@pytest.mark.parametrize(
    ("trader", "says"),
    [
        (None, "nobody trades on the selection"),
        (Trader("a", OLD), "run a trades on"),
        (Trader("a", NEW), "selected no coin: run a looks for no signal, and after what is open"),
    ],
)
def test_a_selection_without_a_coin_ends_the_session_of_the_one_before(trader: Trader | None, says: str) -> None:
    decision = decide_session(selected=NEW, trader=trader, runs=[], failed_ago_s=[], empty_ms=NEWEST)
    assert says in decision.reason
    assert isinstance(decision, Skip) is (trader is not None and trader.serves == NEW)
    if trader is None:
        assert "selected no coin" in decision.reason


@pytest.mark.parametrize(
    ("failed_ago_s", "launched"),
    [([], True), ([5.0, 65.0], True), ([5.0, 65.0, 125.0], False), ([RECONCILE_REST_S, 700.0, 800.0], True)],
)
def test_reconciliation_rests_after_three_failures_in_a_row(failed_ago_s: list[float], launched: bool) -> None:
    decision = decide_reconcile(
        now_ms=10_000_000,
        reconciled_ms=None,
        open_positions=1,
        unresolved=0,
        run_in_progress=False,
        failed_ago_s=failed_ago_s,
    )
    assert isinstance(decision, Launch) is launched
    if isinstance(decision, Skip):
        assert "the last 3 reconciliations failed" in decision.reason


def test_each_of_three_tries_is_told_the_limit_once_and_nothing_more() -> None:
    told = [failure_text("research", "why", tries=tries) for tries in (1, 2, 3, 4, 5)]
    assert [text and text[0] for text in told] == [
        "run of research failed, try 1 of 3",
        "run of research failed, try 2 of 3",
        "run of research failed 3 times: restart limit reached",
        None,
        None,
    ]
    assert failure_text("parity", "why", tries=9) == ("run of parity failed", "why")


@pytest.mark.parametrize(
    ("rest_s", "failed_ago_s", "says"),
    [
        (None, [], ""),
        (None, [9e9, 9e9], ""),
        (None, [9e9, 9e9, 9e9], "tried 3 times already"),
        (None, [9e9] * 7, "tried 7 times already"),
        (30.0, [0.0, 0.0], ""),
        (30.0, [29.0, 60.0, 90.0], "is started in 1 s"),
        (30.0, [30.0, 60.0, 90.0], ""),
        (30.0, [59.0, *[90.0] * 3], "is started in 1 s"),
        (30.0, [599.0, *[700.0] * 30], "is started in 1 s"),
        (30.0, [600.0, *[700.0] * 30], ""),
    ],
)
def test_three_tries_then_a_person_or_a_rest(rest_s: float | None, failed_ago_s: list[float], says: str) -> None:
    refusal = Restarts(rest_s=rest_s).refusal("works", failed_ago_s)
    assert says in refusal and bool(says) is bool(refusal)


@pytest.mark.parametrize("job", [*RESTARTS, "parity"])
def test_each_job_that_is_started_again_says_so_three_times_at_most(job: str) -> None:
    said = [failure_text(job, "boom", tries=number) is not None for number in range(1, 20)]
    assert said == ([True] * 19 if job == "parity" else [True] * 3 + [False] * 16)


BLOCKED = "SCHEMA of market_scan failed: a row is wrong"


@pytest.mark.parametrize(
    ("decision", "says", "is_trouble"),
    [
        (
            decide_research(now_ms=FULL, selected_hours=[NEWEST], tried_hours=[], run_in_progress=False),
            "is selected",
            False,
        ),
        (
            decide_research(
                now_ms=FULL, selected_hours=[NEWEST], tried_hours=[], run_in_progress=False, blocked=BLOCKED
            ),
            f"is selected, but blocked, nothing of it is traded: {BLOCKED}",
            True,
        ),
        (
            decide_research(now_ms=FULL, selected_hours=[], tried_hours=[NEWEST] * 3, run_in_progress=False),
            "tried 3 times already; mend the cause and start it by hand",
            True,
        ),
        (decide_research(now_ms=FULL, selected_hours=[], tried_hours=[], run_in_progress=True), "is running", None),
        (
            decide_selection(backtest_writes={1: 2}, selection_writes={1: 1}, run_in_progress=False, tries={1: 3}),
            "tried 3 times on its newest backtests",
            True,
        ),
        (decide_session(selected=NEW, trader=None, runs=[], failed_ago_s=[1.0] * 3), "3 sessions failed", True),
        (decide_session(selected=None, trader=None, runs=[], failed_ago_s=[]), "no hour is selected", False),
        (
            decide_session(selected=NEW, trader=None, runs=[SessionRun("b", None, 3.0)], failed_ago_s=[]),
            "gets ready",
            None,
        ),
        (
            decide_reconcile(
                now_ms=FULL,
                reconciled_ms=1,
                open_positions=1,
                unresolved=0,
                run_in_progress=False,
                failed_ago_s=[1.0] * 3,
            ),
            "3 reconciliations failed",
            True,
        ),
    ],
)
def test_a_limit_or_a_blocked_hour_is_trouble_that_a_person_sees(
    decision: object, says: str, is_trouble: bool | None
) -> None:
    assert isinstance(decision, Skip) and says in decision.reason and decision.is_trouble is is_trouble
