"""One count for all processes of the machine, on the embedded exchange with its limits on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from trading_assets.core.errors import ExchangeUnavailableError, NotSentError, RateLimitedError, StorageError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.rate_limiter import NoRateLimiter, SharedRateLimiter
from trading_assets.exchange.rate_limits import AFTER_REFUSAL, MARGIN, Permit, limits_for
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets_tests.exchange import limited_worker, venue_rows
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import BANNED, KEYS, Stub, envelope
from trading_assets_tests.forked import PROCESSES
from trading_assets_tests.simulator.fake_market import T0, FakeMarket

LEVERAGE = limits_for("set_leverage", "main:x")
LONG = {"lease_s": 20.0, "patience_s": 60.0}


@pytest.fixture
def limited() -> Iterator[RunningExchange]:
    config = ServeConfig(limits=True, clock=ClockSpec(ClockMode.MANUAL, T0))
    with serve_in_thread(config, FakeMarket()) as exchange:
        yield exchange


@dataclass
class Worker:
    process: BaseProcess
    pipe: Pipe

    def told(self) -> Any:
        assert self.pipe.poll(120), "the process says nothing"
        return self.pipe.recv()


def start(exchange: RunningExchange, folder: Path, count: int) -> Worker:
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(
        target=limited_worker.work, args=(theirs, exchange.url, exchange.key, exchange.secret, folder, count)
    )
    process.start()
    return Worker(process, ours)


@pytest.mark.slow
def test_processes_together_stay_at_the_margin_and_none_is_refused(limited: RunningExchange, tmp_path: Path) -> None:
    workers = [start(limited, tmp_path, 8) for _ in range(3)]
    for worker in workers:
        assert worker.told() == "ready"
    for worker in workers:
        worker.pipe.send("go")
    found = [worker.told() for worker in workers]
    assert [refused for refused, _ in found] == [0, 0, 0]
    answered = sorted(time_s for _, times in found for time_s in times)
    assert len(answered) == 24 <= 0.8 * 10 * (answered[-1] - answered[0] + 1.1)
    for worker in workers:
        worker.process.join(60)


@pytest.mark.slow
def test_a_killed_process_holds_nobody_up(limited: RunningExchange, tmp_path: Path) -> None:
    worker = start(limited, tmp_path, 10_000)
    assert worker.told() == "ready"
    worker.pipe.send("go")
    time.sleep(0.3)
    worker.process.kill()
    worker.process.join(60)
    [file] = tmp_path.glob("*.limits")
    limiter = SharedRateLimiter(file)
    for _ in range(300):
        limiter.acquire(LEVERAGE, **LONG)


def test_a_refusal_slows_every_connector_down_and_the_read_goes_on(
    stub: Stub, connect: Connect, tmp_path: Path, slept: list[float]
) -> None:
    too_many = envelope(code=10006, message="Too many visits", headers={"X-Bapi-Limit": "50"})
    stub.answer(too_many, envelope({"list": [venue_rows.wallet()]}, headers={"X-Bapi-Limit": "50"}))
    first, second = connect(limited=True), connect(limited=True)
    assert first.wallet().equity == 10_000
    assert slept and slept[0] >= 1, "the venue's own wait, or a second"
    slept.clear()
    second.wallet()
    assert slept and slept[0] > 0.3, "what one was told, the other obeys"
    assert len(stub.requests) == 3


def test_the_limit_that_an_answer_tells_replaces_the_table(tmp_path: Path) -> None:
    limiter = SharedRateLimiter(tmp_path / "x.limits", now_ms=lambda: 5000)
    permit = limiter.acquire(LEVERAGE, **LONG)
    assert isinstance(permit, Permit)
    limiter.release(permit, LEVERAGE, granted=30)
    other = SharedRateLimiter(tmp_path / "x.limits", now_ms=lambda: 5000)
    found = [other.acquire(LEVERAGE, lease_s=20, patience_s=0) for _ in range(30)]
    assert sum(isinstance(permit, Permit) for permit in found) == int(30 * MARGIN) - 1
    limiter.release(permit, LEVERAGE, refused_s=0)
    late = SharedRateLimiter(tmp_path / "x.limits", now_ms=lambda: 27_000)
    found = [late.acquire(LEVERAGE, lease_s=20, patience_s=0) for _ in range(40)]
    taken = sum(isinstance(permit, Permit) for permit in found)
    assert int(30 * MARGIN * AFTER_REFUSAL) < taken <= int(30 * MARGIN), "most of the share has come back"


def test_a_ban_silences_every_process_and_later_ones_too(stub: Stub, connect: Connect) -> None:
    stub.answer(BANNED)
    first, second = connect(limited=True), connect(limited=True)
    for exchange in (first, second, connect(limited=True)):
        with pytest.raises(RateLimitedError) as raised:
            exchange.tickers()
        assert 60 < raised.value.retry_after_s <= 600
    assert len(stub.requests) == 1, "after the ban nothing is sent"


def test_a_ban_lasts_ten_minutes(tmp_path: Path) -> None:
    clock = [1000]
    for limiter in (
        SharedRateLimiter(tmp_path / "x.limits", now_ms=lambda: clock[0]),
        NoRateLimiter(now_ms=lambda: clock[0]),
    ):
        limiter.ban(600)
        clock[0] += 599_000
        with pytest.raises(RateLimitedError, match="banned for 1 s more"):
            limiter.acquire(LEVERAGE, **LONG)
        clock[0] += 1001
        assert isinstance(limiter.acquire(LEVERAGE, **LONG), Permit)


def test_an_order_that_gets_no_turn_in_time_was_not_sent(stub: Stub, connect: Connect, tmp_path: Path) -> None:
    connection = Connection(url=stub.url, keys=KEYS, limits_dir=tmp_path)
    other = SharedRateLimiter(connection.limits_file)
    while isinstance(other.acquire(limits_for("place_order", connection.account), **LONG), Permit):
        pass
    order = OrderRequest("BTCUSDT", Side.BUY, Decimal("0.01"), "link-1")
    with pytest.raises(NotSentError, match="no room within 5 s; it was not sent"):
        connect(limited=True).place_order(order)
    assert stub.requests == []


def test_a_damaged_file_counts_as_full_windows(tmp_path: Path) -> None:
    path = tmp_path / "x.limits"
    SharedRateLimiter(path).acquire(LEVERAGE, **LONG)
    path.write_bytes(b"no such thing" * 400)
    limiter = SharedRateLimiter(path)
    with pytest.raises(RateLimitedError) as raised:
        limiter.acquire(LEVERAGE, **LONG)
    assert 0 < raised.value.retry_after_s <= 5


def test_a_write_that_was_cut_off_leaves_the_state_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.limits"
    limiter = SharedRateLimiter(path, now_ms=lambda: 7)
    limiter.ban(100)
    header = path.read_bytes()[:20]
    limiter.ban(300)
    whole = path.read_bytes()
    path.write_bytes(header + whole[20:])
    with pytest.raises(RateLimitedError, match="banned for 100 s"):
        limiter.acquire(LEVERAGE, **LONG)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path, connect: Connect) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="TRADING_ASSETS_LIMITS_DIR"):
        connect(limited=True, limits_dir=tmp_path / "file")


def test_a_file_that_is_lost_later_leaves_requests_unsent_not_unlimited(
    tmp_path: Path, connect: Connect, stub: Stub
) -> None:
    exchange = connect(limited=True, limits_dir=tmp_path / "limits")
    [file] = (tmp_path / "limits").iterdir()
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(ExchangeUnavailableError, match="processes share"):
        exchange.tickers()
    assert stub.requests == []
