"""Leases: one holder at a time, whatever processes and clocks do, and none that a dead process keeps for good."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.core.errors import LeaseLostError
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.tables import metadata

TTL_MS = 10_000
START = 1_000_000


def taken(database: Database, holder: str, wall_ms: int = START, name: str = "trade:main") -> Lease:
    lease = leases.acquire(database, name, holder, ttl_ms=TTL_MS, wall_ms=wall_ms)
    assert lease is not None
    return lease


def test_one_holder_has_a_lease_until_it_runs_out(database: Database) -> None:
    first = taken(database, "a")
    assert first == Lease("trade:main", "a", 1, START + TTL_MS, TTL_MS)
    assert leases.acquire(database, "trade:main", "b", ttl_ms=TTL_MS, wall_ms=START + TTL_MS - 1) is None
    assert leases.holder_of(database, "trade:main", wall_ms=START + TTL_MS - 1) == first
    assert leases.holder_of(database, "trade:main", wall_ms=START + TTL_MS) is None
    assert taken(database, "b", START + TTL_MS).fence == 2


def test_leases_of_other_names_are_free(database: Database) -> None:
    taken(database, "a")
    assert taken(database, "b", name="trade:other").holder == "b"


def test_a_lease_that_was_given_back_can_be_taken_at_once(database: Database) -> None:
    assert leases.release(database, taken(database, "a"))
    assert leases.holder_of(database, "trade:main", wall_ms=START) is None
    assert taken(database, "b").fence == 2


def test_a_lease_that_was_given_back_cannot_be_renewed(database: Database) -> None:
    first = taken(database, "a")
    leases.release(database, first)
    with pytest.raises(LeaseLostError):
        leases.renew(database, first, ttl_ms=TTL_MS, wall_ms=START)


def test_a_renewed_lease_lasts_longer_and_keeps_its_fence(database: Database) -> None:
    first = taken(database, "a")
    again = leases.renew(database, first, ttl_ms=TTL_MS, wall_ms=START + 9_000)
    assert (again.fence, again.expires_wall_ms) == (first.fence, START + 19_000)
    assert leases.acquire(database, "trade:main", "b", ttl_ms=TTL_MS, wall_ms=START + 18_999) is None


def test_a_lease_that_ran_out_is_renewed_only_while_nobody_took_it(database: Database) -> None:
    first = taken(database, "a")
    assert leases.renew(database, first, ttl_ms=TTL_MS, wall_ms=START + 50_000).expires_wall_ms == START + 60_000
    taken(database, "b", START + 60_000)
    with pytest.raises(LeaseLostError, match="no longer holds"):
        leases.renew(database, first, ttl_ms=TTL_MS, wall_ms=START + 60_001)


def test_a_paused_holder_that_wakes_up_can_write_nothing_and_take_nothing_away(database: Database) -> None:
    first = taken(database, "a")
    second = taken(database, "b", START + TTL_MS)
    with pytest.raises(LeaseLostError), database.write() as connection:
        leases.guard(connection, first, wall_ms=START + TTL_MS)
    assert not leases.release(database, first)
    with database.write() as connection:
        leases.guard(connection, second, wall_ms=START + TTL_MS)


def test_a_holder_writes_nothing_under_a_lease_that_ran_out(database: Database) -> None:
    first = taken(database, "a")
    with pytest.raises(LeaseLostError), database.write() as connection:
        leases.guard(connection, first, wall_ms=START + TTL_MS)


def test_a_holder_that_comes_back_under_its_old_name_is_another_one(database: Database) -> None:
    first = taken(database, "a")
    assert leases.acquire(database, "trade:main", "a", ttl_ms=TTL_MS, wall_ms=START) is None
    taken(database, "a", START + TTL_MS)
    with pytest.raises(LeaseLostError):
        leases.renew(database, first, ttl_ms=TTL_MS, wall_ms=START + TTL_MS)


def test_names_of_holders_differ() -> None:
    assert leases.this_holder() != leases.this_holder()


def test_a_guarded_write_and_a_takeover_exclude_each_other(database: Database) -> None:
    """While the guarded transaction is open, another connection cannot take the lease, even if it has run out."""
    first = taken(database, "a")
    url = database.url.render_as_string(hide_password=False)
    got: list[Lease | None] = []

    def take() -> None:
        own = Database(url, busy_timeout_s=60)
        got.append(leases.acquire(own, "trade:main", "b", ttl_ms=TTL_MS, wall_ms=START + TTL_MS))
        own.close()

    with database.write() as connection:
        leases.guard(connection, first, wall_ms=START)
        other = threading.Thread(target=take)
        other.start()
        other.join(0.3)
        assert got == []
    other.join(60)
    assert [lease.fence for lease in got if lease is not None] == [2]


@pytest.mark.parametrize("present", [False, True], ids=["never taken", "run out"])
def test_one_of_many_that_reach_for_a_lease_at_once_gets_it(database: Database, present: bool) -> None:
    if present:
        taken(database, "dead", START - TTL_MS)
    url = database.url.render_as_string(hide_password=False)
    barrier, got = threading.Barrier(6), []

    def take(number: int) -> None:
        own = Database(url, busy_timeout_s=60)
        barrier.wait(60)
        got.append(leases.acquire(own, "trade:main", str(number), ttl_ms=TTL_MS, wall_ms=START))
        own.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    winners = [lease for lease in got if lease is not None]
    assert (len(got), len(winners)) == (6, 1)
    assert leases.holder_of(database, "trade:main", wall_ms=START) == winners[0]


_HOLDERS = st.sampled_from("abc")
_STEPS = st.one_of(
    st.tuples(st.sampled_from(["acquire", "renew", "release", "guard"]), _HOLDERS),
    st.tuples(st.just("later"), st.sampled_from([1, 4_000, TTL_MS, 3 * TTL_MS])),
)


@pytest.mark.slow
@given(st.lists(_STEPS, max_size=25))
@hypothesis_settings(max_examples=60)
def test_whatever_happens_one_holder_at_most_can_write_and_fences_only_grow(
    sqlite: Database, steps: list[tuple[str, str | int]]
) -> None:
    """Three holders do what they like; each keeps the last lease it got, as a paused process would."""
    with sqlite.write() as connection:
        connection.execute(sa.delete(metadata.tables["leases"]))
    now, held, highest = START, dict[str, Lease](), 0
    for what, value in steps:
        if what == "later":
            now += int(value)
            continue
        holder = str(value)
        if what == "acquire":
            free = leases.holder_of(sqlite, "l", wall_ms=now) is None
            lease = leases.acquire(sqlite, "l", holder, ttl_ms=TTL_MS, wall_ms=now)
            assert (lease is not None) == free
            if lease is not None:
                assert lease.fence == highest + 1
                highest, held[holder] = lease.fence, lease
        elif holder in held and what == "renew":
            try:
                held[holder] = leases.renew(sqlite, held[holder], ttl_ms=TTL_MS, wall_ms=now)
            except LeaseLostError:
                continue
            assert held[holder].fence == highest
        elif holder in held and what == "release":
            assert leases.release(sqlite, held[holder]) == (held[holder].fence == highest)
        allowed = [name for name, lease in held.items() if _may_write(sqlite, lease, now)]
        current = leases.holder_of(sqlite, "l", wall_ms=now)
        assert allowed == ([current.holder] if current is not None else [])


def _may_write(database: Database, lease: Lease, now: int) -> bool:
    try:
        with database.write() as connection:
            leases.guard(connection, lease, wall_ms=now)
    except LeaseLostError:
        return False
    return True


def _count_alone(url: str, path: str, rounds: int) -> None:
    """A process that adds to a number in a file, which only the holder of a lease may do; it waits for its turn."""
    database = Database(url, busy_timeout_s=60)
    done, holder = 0, leases.this_holder()
    while done < rounds:
        lease = leases.acquire(database, "file", holder, ttl_ms=60_000, wall_ms=START)
        if lease is None:
            continue
        file = Path(path)
        file.write_text(str(int(file.read_text()) + 1))
        leases.release(database, lease)
        done += 1
    database.close()


@pytest.mark.slow
def test_processes_that_take_turns_by_a_lease_lose_no_count(database: Database, tmp_path: Path) -> None:
    url = database.url.render_as_string(hide_password=False)
    database.close()
    file = tmp_path / "count"
    file.write_text("0")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    workers = [context.Process(target=_count_alone, args=(url, str(file), 10), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert file.read_text() == "30"
    assert taken(database, "last", name="file").fence == 31
