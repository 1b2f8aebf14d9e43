"""The parts of `chaos day`: services that are started again, what is watched, and rules of faults that can be put in
force."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trading_assets.chaos import installation
from trading_assets.chaos.faults import (
    GROWING,
    REFUSED_STOPS,
    some_faults,
    some_lags,
    some_market_faults,
    some_odd_rows,
)
from trading_assets.chaos.installation import Service, own_environment
from trading_assets.chaos.watch import Gaps, Watch
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS
from trading_assets.trading.context import trading_lease
from trading_assets_tests.fakes import FakeExchange

WITHIN_S = 120.0


@pytest.fixture
def sleeper(tmp_path: Path) -> Service:
    return Service("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_service_is_started_again_and_a_stopped_one_stays_down(
    sleeper: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "RESTART_AFTER_S", 0.0)
    sleeper.start()
    first = sleeper.process
    assert first is not None and sleeper.is_running
    assert sleeper.kill(with_children=True)
    assert not sleeper.is_running and not sleeper.kill(with_children=True)
    assert first.returncode == -signal.SIGKILL

    def is_back() -> bool:
        sleeper.supervise()
        return sleeper.is_running

    wait_until(is_back)
    assert sleeper.starts == 2
    monkeypatch.setattr(installation, "STOP_WITHIN_S", 1.0)
    sleeper.stop()
    assert not sleeper.is_running


def test_a_trial_has_settings_of_its_own_and_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "mainnet")
    monkeypatch.setenv("BYBIT_API_KEY", "somebody's")
    before, directory = dict(os.environ), Path.cwd()
    with own_environment(tmp_path, {"MAX_SYMBOLS": 3}):
        assert "TRADING_ASSETS_VENUE" not in os.environ and "BYBIT_API_KEY" not in os.environ
        assert os.environ["TRADING_ASSETS_MAX_SYMBOLS"] == "3"
        assert (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").is_file()
    assert dict(os.environ) == before and Path.cwd() == directory


@pytest.mark.parametrize("seed", range(20))
def test_every_random_fault_is_one_that_the_exchange_takes(seed: int) -> None:
    chance = random.Random(seed)
    rules = [*some_faults(chance), *some_market_faults(chance), *some_lags(chance), *some_odd_rows(chance, ["BTCUSDT"])]
    rules += [dict(GROWING), dict(REFUSED_STOPS)]
    assert len(parse_rules({"faults": rules}, ENDPOINTS)) == len(rules)


def test_gaps_add_up_and_the_longest_is_kept() -> None:
    gaps = Gaps()
    for there, now in [(True, 0.0), (False, 1.0), (False, 2.0), (True, 4.0), (False, 10.0)]:
        gaps.look(there, now)
    gaps.end(11.0)
    assert (gaps.count, gaps.total_s, gaps.longest_s) == (2, 4.0, 3.0)


def test_a_session_lives_while_it_holds_the_lease_and_its_process_is_there(sqlite: Database) -> None:
    processes = {"run-a": 4711}
    watch = Watch(sqlite, FakeExchange(), "main", processes.get)
    assert not watch.look_at_session() and watch.without_session.count == 0, "nothing is missed before the first one"
    assert leases.acquire(sqlite, trading_lease("main"), "run-a@hour", ttl_ms=60_000, wall_ms=local_ms())
    assert watch.look_at_session() and watch.session() == 4711
    processes.clear()
    assert not watch.look_at_session() and watch.without_session.count == 1
    assert watch.sessions == {"run-a"}
