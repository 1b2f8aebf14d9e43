"""Announced deliveries: written with the hour that knew them first, and asked by the scan in those hours alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trading_assets.core.models import Announcement, Instrument
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms
from trading_assets.ledger import deliveries
from trading_assets.ledger.database import Database
from trading_assets.market.stages import HourlyScans, scan_hours
from trading_assets.market.store import CandleStore
from trading_assets.market.universe import seen_ms
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.market.test_scan_stage import HOURS, LISTED, settings, source

ENDS_MS = HOURS[0] + 3 * DAY_MS
LEAVING = [replace(one, delivery_ms=ENDS_MS) if one.symbol == "AUSDT" else one for one in LISTED]


def scanned(
    database: Database, folder: Path, hours: Sequence[int], now_ms: int, listed: Sequence[Instrument]
) -> HourlyScans:
    """As the asset does it."""
    market = source(now_ms)
    market._listed = list(listed)

    def announce(instruments: Sequence[Instrument]) -> Sequence[Announcement]:
        deliveries.note(database, "simulator", instruments, seen_ms(hours, now_ms))
        return deliveries.announced(database, "simulator")

    rules = settings().model_copy(update={"max_symbols": 50})
    return scan_hours(market, CandleStore(folder), hours, rules, announce=announce)


def leaving_hours(found: HourlyScans) -> list[int]:
    return [hour for hour, dropped in found.dropped.items() if "AUSDT" in dropped.get("to be delivered", [])]


def test_a_coin_is_left_out_from_the_hour_whose_own_list_knew_it(database: Database, tmp_path: Path) -> None:
    before = scanned(database, tmp_path, HOURS[:1], as_of_ms(HOURS[0]) + 60_000, LISTED)
    live = scanned(database, tmp_path, HOURS[1:2], as_of_ms(HOURS[1]) + 60_000, LEAVING)
    after = scanned(database, tmp_path, HOURS[2:3], as_of_ms(HOURS[2]) + 60_000, LEAVING)
    assert (leaving_hours(before), leaving_hours(live), leaving_hours(after)) == ([], HOURS[1:2], HOURS[2:3])
    assert "AUSDT" in set(before.rows["symbol"]) and "AUSDT" not in {*live.rows["symbol"], *after.rows["symbol"]}
    (row,) = deliveries.announced(database, "simulator")
    assert row == Announcement("AUSDT", ENDS_MS, as_of_ms(HOURS[1]))
    again = scanned(database, tmp_path, HOURS, HOURS[-1] + 30 * HOUR_MS, LEAVING)
    assert leaving_hours(again) == HOURS[1:], "an hour scanned again is what it was"


def test_a_backfill_knows_nothing_of_what_is_announced_today(database: Database, tmp_path: Path) -> None:
    now_ms = as_of_ms(HOURS[-1]) + 5 * HOUR_MS
    found = scanned(database, tmp_path, HOURS, now_ms, LEAVING)
    assert leaving_hours(found) == [] and set(found.rows["hour_ms"][found.rows["symbol"] == "AUSDT"]) == set(HOURS)
    (row,) = deliveries.announced(database, "simulator")
    assert row.seen_ms == now_ms, "known from now on, not before"


def test_of_a_range_up_to_now_only_the_newest_hour_knows_it(database: Database, tmp_path: Path) -> None:
    found = scanned(database, tmp_path, HOURS, as_of_ms(HOURS[-1]) + 60_000, LEAVING)
    assert leaving_hours(found) == HOURS[-1:]


def test_an_end_that_is_put_off_is_a_second_announcement_and_the_first_stays(database: Database) -> None:
    for seen, delivery in ((10, 100), (20, 200), (30, 100)):
        deliveries.note(database, "simulator", [an_instrument("AUSDT", delivery_ms=delivery)], seen)
    deliveries.note(database, "mainnet", [an_instrument("AUSDT", delivery_ms=300), an_instrument("BUSDT")], 5)
    assert deliveries.announced(database, "simulator") == [
        Announcement("AUSDT", 100, 10),
        Announcement("AUSDT", 200, 20),
    ]
    assert deliveries.announced(database, "mainnet") == [Announcement("AUSDT", 300, 5)]


def test_a_contract_that_has_ended_is_announced_no_more() -> None:
    one = Announcement("AUSDT", 100, 10)
    assert [one.is_known(moment) for moment in (9, 10, 99, 100)] == [False, True, True, False]
