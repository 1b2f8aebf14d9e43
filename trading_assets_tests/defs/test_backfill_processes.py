"""Runs of a backfill in several processes: their ranges, their order, and every way in which they may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psutil
import pytest

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.defs import backfill
from trading_assets.defs.backfill_processes import Ended, Range, in_processes

MIDNIGHT = 20_000 * DAY_MS


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job
def idle() -> None:
    """A job, which `run_one` of a test need not run."""
    nothing()


def make_job() -> dg.JobDefinition:
    return idle


def no_job() -> dg.JobDefinition:
    raise DataError("there is no job")


def run_one(
    _instance: dg.DagsterInstance, job: dg.JobDefinition, given: Range, _follow: Callable[..., None], settings: bool
) -> Ended:
    """Range 2 fails, range 3 ends its process, range 4 never ends."""
    if given[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if given[0] == 4:
        Path(os.environ["DAGSTER_HOME"], "waiting").write_text(str(os.getpid()))
        time.sleep(600)
    return Ended(given, f"{job.name} {settings}", "no such coin" if given[0] == 2 else None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def _run(ranges: list[Range], processes: int = 2) -> list[Ended]:
    return list(in_processes(ranges, processes, make_job, run_one, lambda _told: None, as_of_settings=True))


@pytest.mark.slow
def test_every_range_is_run_once_and_a_failure_is_told(home: Path) -> None:
    ranges = [(0, 1), (1, 1), (2, 1)]
    found = _run(ranges)
    assert sorted(one.given for one in found) == ranges
    assert {one.run_id for one in found} == {"idle True"}
    assert [one.given for one in found if one.failed] == [(2, 1)]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_backfill_and_the_others(home: Path) -> None:
    with pytest.raises(DataError, match=r"the process backfill-\d ended with code -9"):
        _run([(4, 1), (3, 1)])
    assert not psutil.pid_exists(int((home / "waiting").read_text()))


@pytest.mark.slow
def test_a_process_that_cannot_begin_says_why(home: Path) -> None:
    with pytest.raises(DataError, match="there is no job"):
        list(in_processes([(0, 1)], 1, no_job, run_one, lambda _told: None, as_of_settings=False))


@pytest.mark.slow
def test_who_stops_to_listen_stops_the_processes(home: Path) -> None:
    runs = in_processes([(0, 1), (4, 1)], 1, make_job, run_one, lambda _told: None, as_of_settings=False)
    assert next(runs).given == (0, 1)
    waiting = _when_waiting(home)
    runs.close()
    assert not psutil.pid_exists(waiting)


@pytest.mark.slow
def test_the_processes_end_with_a_parent_that_was_killed(home: Path) -> None:
    code = (
        "from trading_assets_tests.defs import test_backfill_processes as t\n"
        "if __name__ == '__main__':\n    t._run([(4, 1)], 1)\n"
    )
    script = home / "parent.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)}) as parent:
        waiting = psutil.Process(_when_waiting(home))
        parent.kill()
    waiting.wait(30)


def _when_waiting(home: Path) -> int:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if (home / "waiting").is_file() and (text := (home / "waiting").read_text()):
            return int(text)
        time.sleep(0.1)
    raise TimeoutError("the range that waits was not begun")


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("hours", [1, 2, 5, 24, 30, 168, 169, 720, 8760])
@pytest.mark.parametrize("first", [0, 5, 23])
def test_ranges_are_the_whole_without_overlap_for_every_process_and_not_too_long(
    first: int, hours: int, processes: int
) -> None:
    begin = MIDNIGHT + first * HOUR_MS
    found = backfill.ranges_of(begin, begin + (hours - 1) * HOUR_MS, processes)
    covered = [start + hour * HOUR_MS for start, of_run in found for hour in range(of_run)]
    assert covered == [begin + hour * HOUR_MS for hour in range(hours)]
    assert all(0 < of_run <= backfill.HOURS_OF_A_RUN for _, of_run in found)
    if hours > 24 * processes:
        assert all(start % DAY_MS == 0 for start, _ in found[1:]), "a day is in one run"


def test_a_short_range_is_one_process_by_default() -> None:
    assert backfill.processes_by_default(24) == 1
    assert 1 <= backfill.processes_by_default(24 * 365) <= 8
