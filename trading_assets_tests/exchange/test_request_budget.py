"""The count of requests: never more in a window of the venue than it allows, whatever the network does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.exchange.rate_limits import (
    ADDRESS,
    AFTER_REFUSAL,
    HISTORY,
    LONGEST_BAN_MS,
    LOWEST,
    MARGIN,
    MARKET_DATA,
    Limit,
    Permit,
    RequestBudget,
    RetryAfter,
    RollingWindow,
    limits_for,
)

CREATE = Limit("create", 10, 1000)
LEASE_MS = 20_000
FOREVER_MS = 10**9


def most_in_a_window(times: list[int], window_ms: int) -> int:
    ordered = sorted(times)
    return max((sum(t <= other < t + window_ms for other in ordered) for t in ordered), default=0)


@given(
    # After how long each request reaches the venue, how long its answer takes, and the pause before the next is asked.
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000), st.sampled_from([0, 0, 0, 1, 40, 700])), max_size=60)
)
def test_no_window_of_the_venue_holds_more_than_the_margin(trips: list[tuple[int, int, int]]) -> None:
    budget, now, arrived = RequestBudget(), 1_000_000, []
    answers: list[tuple[int, str]] = []
    for to_venue, back, pause in trips:
        now += pause
        for _ in range(10_000):
            for at, number in sorted(answers):
                if at <= now:
                    budget.release(number, [CREATE], at)
            answers = [(at, number) for at, number in answers if at > now]
            permit = budget.acquire([CREATE], now, LEASE_MS, FOREVER_MS)
            if isinstance(permit, Permit):
                break
            now += permit.wait_ms
        assert isinstance(permit, Permit)
        sent = now + permit.wait_ms
        arrived.append(sent + to_venue)
        answers.append((sent + to_venue + back, permit.number))
    assert most_in_a_window(arrived, CREATE.window_ms) <= MARGIN * CREATE.requests


def test_turns_are_given_in_order_and_as_early_as_answers_allow() -> None:
    budget = RequestBudget()
    permits = [budget.acquire([CREATE], 0, LEASE_MS, FOREVER_MS) for _ in range(8)]
    assert [permit.wait_ms for permit in permits] == [0] * 8
    assert isinstance(budget.acquire([CREATE], 0, LEASE_MS, FOREVER_MS), RetryAfter), (
        "no answer yet: nothing is promised"
    )
    for i, permit in enumerate(permits):
        assert isinstance(permit, Permit)
        budget.release(permit.number, [CREATE], 10 + i)
    promised = [budget.acquire([CREATE], 100, LEASE_MS, FOREVER_MS) for _ in range(3)]
    assert promised == [Permit("9", 910), Permit("10", 911), Permit("11", 912)]


def test_room_is_what_may_go_out_now_by_one_request() -> None:
    budget, batches = RequestBudget(), Limit("batch", 10, 1000)
    address = Limit(ADDRESS, 4, 5000)
    assert budget.room([address, batches], 0) == 8
    permit = budget.acquire([address, batches], 0, LEASE_MS, FOREVER_MS, 5)
    assert isinstance(permit, Permit) and budget.room([address, batches], 0) == 3
    budget.release(permit.number, [address, batches], 40)
    assert (budget.room([address, batches], 1039), budget.room([address, batches], 1040)) == (3, 8)
    for _ in range(2):
        budget.acquire([address], 1040, LEASE_MS, FOREVER_MS)
    assert budget.room([address, batches], 1041) == 0, "the address may send nothing"
    other = RequestBudget()
    other.room([batches], 0)
    other.counts["batch"].refuse(5000, 700)
    assert (other.room([batches], 5699), other.room([batches], 5700)) == (0, 5), "and less than before the refusal"
    other.silent_until_ms = 9000
    assert other.room([batches], 8999) == 0


def test_a_turn_later_than_wanted_is_not_taken() -> None:
    budget = RequestBudget()
    for _ in range(8):
        permit = budget.acquire([CREATE], 0, LEASE_MS, FOREVER_MS)
        assert isinstance(permit, Permit)
        budget.release(permit.number, [CREATE], 0)
    assert budget.acquire([CREATE], 100, LEASE_MS, 500) == RetryAfter(900)
    assert not budget.counts["create"].flying


def test_a_request_whose_process_died_counts_until_its_lease_ends() -> None:
    budget = RequestBudget()
    for _ in range(8):
        budget.acquire([CREATE], 0, LEASE_MS, FOREVER_MS)
    assert isinstance(budget.acquire([CREATE], LEASE_MS + 999, LEASE_MS, FOREVER_MS), RetryAfter)
    assert budget.acquire([CREATE], LEASE_MS + 1000, LEASE_MS, FOREVER_MS) == Permit("9", 0)


def test_a_refusal_shrinks_the_share_once_a_window_and_time_brings_it_back() -> None:
    count = RollingWindow(50, 1000)
    assert count.usable(10_000) == 40
    for _ in range(5):
        count.refuse(10_000, 300)
    assert count.share_at(10_000) == pytest.approx(MARGIN * AFTER_REFUSAL)
    assert count.earliest_ms(10_000) == 10_300
    assert 28 <= count.usable(10_000) < count.usable(20_000) < count.usable(40_000) == 40
    for second in range(60):
        count.refuse(100_000 + second * 1001, 0)
    assert count.share_at(160_060) >= LOWEST
    assert count.usable(160_060) >= 10


def test_a_clock_that_began_anew_blocks_nothing() -> None:
    budget = RequestBudget()
    later = 10**10
    for _ in range(8):
        budget.acquire([CREATE], later, LEASE_MS, FOREVER_MS)
    budget.counts["create"].refuse(later, 10_000)
    budget.silent_until_ms = later + LONGEST_BAN_MS
    assert budget.ban_left_ms(later) == LONGEST_BAN_MS
    assert budget.ban_left_ms(5) == 0
    assert budget.acquire([CREATE], 5, LEASE_MS, FOREVER_MS) == Permit("9", 0)


def test_market_data_never_takes_what_the_account_needs() -> None:
    budget, fetch = RequestBudget(), limits_for("get_kline", "main:x")
    taken = 0
    while isinstance(budget.acquire(fetch, 0, LEASE_MS, FOREVER_MS), Permit):
        taken += 1
    assert taken == 384
    price = limits_for("get_tickers", "main:x")
    for _ in range(48):
        assert isinstance(budget.acquire(price, 0, LEASE_MS, 0), Permit), "an order's price waits for no backfill"
        taken += 1
    assert not isinstance(budget.acquire(price, 0, LEASE_MS, 0), Permit)
    order = limits_for("place_order", "main:x")
    assert [limit.name for limit in order] == [ADDRESS, "main:x place_order"]
    assert [limit.name for limit in fetch] == [ADDRESS, MARKET_DATA, HISTORY]
    assert budget.acquire(order, 0, LEASE_MS, FOREVER_MS) == Permit(str(taken + 1), 0)


def test_a_batch_counts_for_each_of_its_orders_and_an_address_for_one() -> None:
    limits = limits_for("cancel_batch_order", "one")
    budget, now = RequestBudget(), 1_000_000
    first = budget.acquire(limits, now, LEASE_MS, 0, cost=5)
    assert isinstance(first, Permit)
    assert isinstance(budget.acquire(limits, now, LEASE_MS, 0, cost=4), RetryAfter)  # 8 of 10 may be used
    second = budget.acquire(limits, now, LEASE_MS, 0, cost=3)
    assert isinstance(second, Permit)
    assert len(budget.counts[ADDRESS].flying) == 2
    for permit in (first, second):
        budget.release(permit.number, limits, now)
    assert not budget.counts[limits[-1].name].flying
    assert isinstance(budget.acquire(limits, now + 999, LEASE_MS, 0), RetryAfter)
    assert isinstance(budget.acquire(limits, now + 1000, LEASE_MS, 0, cost=8), Permit)
    # A batch larger than the limit is let through alone: it could never go otherwise.
    assert isinstance(RequestBudget().acquire(limits, now, LEASE_MS, 0, cost=20), Permit)
