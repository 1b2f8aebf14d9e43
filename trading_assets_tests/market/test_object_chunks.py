"""Candles in S3: two machines write the same chunks and lose nothing, whatever S3 answers and whoever is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.core.errors import StorageError, WrongBooksError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.market import object_chunks
from trading_assets.market.opening import claim_candles, open_candle_store, open_local_candle_store
from trading_assets.market.store import CandleStore
from trading_assets_tests.core.objects.s3 import BUCKET, S3Front, point_at, s3_server
from trading_assets_tests.market.sources import T0, CountingSource, candles_of
from trading_assets_tests.market.test_store import assert_equal
from trading_assets_tests.market.writers import fill_every, fill_for_ever

M1, M60 = Timeframe.M1, Timeframe.M60
URL = f"s3://{BUCKET}/desk"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Front]:
    with s3_server() as front:
        yield front


@pytest.fixture
def front(server: S3Front, monkeypatch: pytest.MonkeyPatch) -> S3Front:
    point_at(server, monkeypatch)
    return server


def machine(home: Path) -> Settings:
    return load_settings(home=home, store_url=URL)


def on(home: Path) -> CandleStore:
    return open_candle_store(machine(home))


@pytest.mark.slow
def test_what_one_machine_has_written_another_sees_at_once(front: S3Front, tmp_path: Path) -> None:
    source, here, there = CountingSource(T0 + 40 * DAY_MS), on(tmp_path / "here"), on(tmp_path / "there")
    for hour in range(0, 80, 8):  # three chunks, by turns
        assert here.fill(source, "AUSDT", M1, T0 + hour * HOUR_MS, T0 + (hour + 4) * HOUR_MS) == 240
        assert there.fill(source, "AUSDT", M1, T0 + hour * HOUR_MS, T0 + (hour + 8) * HOUR_MS) == 240
        assert len(here.read("AUSDT", M1, T0, T0 + 80 * HOUR_MS)) == (hour + 8) * 60
    whole = candles_of("AUSDT", M1, range(T0, T0 + 80 * HOUR_MS, MINUTE_MS))
    assert_equal(there.read("AUSDT", M1, T0, T0 + 80 * HOUR_MS), whole)
    assert there.missing("AUSDT", M1, T0, T0 + 80 * HOUR_MS) == []
    assert there.fill_funding(source, "AUSDT", T0, T0 + 2 * DAY_MS) > 0
    assert len(here.read_funding("AUSDT", T0, T0 + 2 * DAY_MS)) > 0
    assert (here.first_ms("AUSDT", M1), there.last_ms("AUSDT", M1)) == (T0, T0 + 80 * HOUR_MS)
    assert there.first_ms("BUSDT", M1) is None
    assert here.symbols() == ["AUSDT"]
    # A third machine begins with nothing, and a second reading costs one request and no content.
    third = on(tmp_path / "third")
    assert_equal(third.read("AUSDT", M1, T0, T0 + 80 * HOUR_MS), whole)
    front.calls.clear()
    assert_equal(third.read("AUSDT", M1, T0, T0 + 80 * HOUR_MS), whole)
    assert len(front.calls) == 1
    # Deleted by one, gone for all.
    assert here.prune({M1: T0 + 60 * HOUR_MS}, unchanged_since_s=time.time() - 60) == (0, 0)
    assert here.prune({M1: T0 + 60 * HOUR_MS}, unchanged_since_s=time.time() + 60)[0] > 0
    assert third.first_ms("AUSDT", M1) is not None
    assert third.first_ms("AUSDT", M1) > T0  # type: ignore[operator]
    here.forget("AUSDT", T0, T0 + 400 * DAY_MS)
    assert len(third.read("AUSDT", M1, T0, T0 + 80 * HOUR_MS)) == 0


@pytest.mark.slow
def test_throttling_faults_conflicts_and_lost_answers_lose_nothing(front: S3Front, tmp_path: Path) -> None:
    chance = random.Random(7)
    asked = {"faults": 0}

    def trouble(method: str, _: str) -> tuple[int, str] | None:
        found = chance.random()
        if found < 0.15:
            asked["faults"] += 1
            return [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")][asked["faults"] % 3]
        if found < 0.3 and method == "PUT":
            return (409, "ConditionalRequestConflict") if found < 0.2 else (412, "PreconditionFailed")
        return None

    front.rule = trouble
    front.answer_lost = lambda method, _: (500, "InternalError") if method == "PUT" and chance.random() < 0.1 else None
    source, stores = CountingSource(T0 + 40 * DAY_MS), [on(tmp_path / name) for name in ("here", "there")]
    for hour in range(20):
        stores[hour % 2].fill(source, "AUSDT", M1, T0 + hour * HOUR_MS, T0 + (hour + 1) * HOUR_MS)
    assert asked["faults"] > 10
    front.rule = front.answer_lost = None
    expected = candles_of("AUSDT", M1, range(T0, T0 + 20 * HOUR_MS, MINUTE_MS))
    for store in stores:
        assert_equal(store.read("AUSDT", M1, T0, T0 + 20 * HOUR_MS), expected)
        assert store.missing("AUSDT", M1, T0, T0 + 20 * HOUR_MS) == []


@pytest.mark.slow
def test_a_store_that_stays_away_or_is_always_another_s_turn_is_a_clear_error_and_nothing_is_read_as_empty(
    front: S3Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, source = on(tmp_path), CountingSource(T0 + DAY_MS)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    front.rule = lambda *_: (503, "SlowDown")
    for use in (
        lambda: store.read("AUSDT", M1, T0, T0 + HOUR_MS),
        lambda: store.missing("AUSDT", M1, T0, T0 + HOUR_MS),
        lambda: store.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS),
        store.symbols,
    ):
        with pytest.raises(StorageError, match=r"SlowDown; it is asked too often"):
            use()
    monkeypatch.setattr(object_chunks, "_PATIENCE_S", 0.2)
    front.rule = lambda method, _: (412, "PreconditionFailed") if method == "PUT" else None
    with pytest.raises(StorageError, match="written by others again and again"):
        store.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS)
    front.rule = None
    assert len(store.read("AUSDT", M1, T0, T0 + DAY_MS)) == 60


@pytest.mark.slow
def test_a_damaged_copy_is_made_anew_and_a_damaged_file_is_put_aside_and_fetched_again(
    front: S3Front, tmp_path: Path
) -> None:
    import boto3

    store, source = on(tmp_path), CountingSource(T0 + DAY_MS)
    store.fill(source, "AUSDT", M1, T0, T0 + HOUR_MS)
    (copy,) = (tmp_path / "copies").rglob("*.parquet")
    copy.write_bytes(b"x" * 500)
    assert store.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS) == 60
    assert len(store.read("AUSDT", M1, T0, T0 + DAY_MS)) == 120
    s3 = boto3.client("s3")
    (key,) = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"garbage")
    with pytest.raises(StorageError, match="damaged"):
        store.read("AUSDT", M1, T0, T0 + DAY_MS)
    assert store.fill(source, "AUSDT", M1, T0, T0 + 2 * HOUR_MS) == 120
    assert len(store.read("AUSDT", M1, T0, T0 + DAY_MS)) == 120
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == [key, f"{key}.damaged"]


@pytest.mark.slow
def test_candles_of_two_markets_do_not_meet_and_trading_keeps_its_own_on_the_machine(
    front: S3Front, tmp_path: Path
) -> None:
    claim_candles(machine(tmp_path), "seeded 7")
    claim_candles(machine(tmp_path / "other"), "seeded 7")
    with pytest.raises(WrongBooksError, match=r"'seeded 7'.*'seeded 8'.*another prefix"):
        claim_candles(machine(tmp_path / "other"), "seeded 8")
    front.rule = lambda *_: (503, "SlowDown")
    local = open_local_candle_store(machine(tmp_path))
    assert local.fill(CountingSource(T0 + DAY_MS), "AUSDT", M1, T0, T0 + HOUR_MS) == 60
    assert len(local.read("AUSDT", M1, T0, T0 + DAY_MS)) == 60


@pytest.mark.slow
def test_two_processes_that_write_the_same_chunks_at_once_lose_nothing(front: S3Front, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    homes = [tmp_path / "here", tmp_path / "there"]
    given = [(str(home), first, 2, 34, URL) for first, home in enumerate(homes)]
    workers = [context.Process(target=fill_every, args=one) for one in given]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    expected = candles_of("AUSDT", M1, range(T0, T0 + 34 * HOUR_MS, MINUTE_MS))
    for home in (*homes, tmp_path / "third"):
        assert_equal(on(home).read("AUSDT", M1, T0, T0 + 34 * HOUR_MS), expected)
        assert on(home).missing("AUSDT", M1, T0, T0 + 34 * HOUR_MS) == []


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_what_was_there(front: S3Front, tmp_path: Path) -> None:
    context, store, previous = multiprocessing.get_context("spawn"), on(tmp_path / "reader"), 0
    for wait_s in (0.0, 0.02):
        worker = context.Process(target=fill_for_ever, args=(str(tmp_path / "writer"), URL))
        worker.start()
        deadline = time.monotonic() + 60
        while len(store.read("AUSDT", M1, T0, T0 + 40 * DAY_MS)) < previous + 120 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait_s)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(60)
        held = store.read("AUSDT", M1, T0, T0 + 40 * DAY_MS)
        assert len(held) >= previous + 120
        assert_equal(held, candles_of("AUSDT", M1, held.start_ms.tolist()))
        assert store.missing("AUSDT", M1, T0, T0 + 30 * DAY_MS) == [(int(held.end_ms[-1]), T0 + 30 * DAY_MS)]
        previous = len(held)
