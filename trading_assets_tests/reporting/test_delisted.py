"""A coin that is delisted in the middle: its positions end on its day, and nothing is entered later."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms
from trading_assets.ledger import deliveries
from trading_assets.ledger.database import Database
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.forward_test import run_forward_tests
from trading_assets.reporting.load import endings
from trading_assets.reporting.trades import DELISTED, NO_ENDINGS, OPEN, Ending, ForwardTrade, SelectedStrategy
from trading_assets.reporting.walk_forward import walk_forward
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.reporting.fixtures import (
    COSTS,
    HOUR,
    UNLIMITED,
    SeededSource,
    market,
    selections,
    settings,
)

COIN, OTHER = "SOLUSDT", "ETHUSDT"
END = as_of_ms(HOUR) + 40 * HOUR_MS


@dataclass(frozen=True)
class Cut:
    """The seeded market, in which a coin is not traded from a moment on."""

    reader: CandleReader
    time_ms: int
    btc: str = "BTCUSDT"

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        found = self.reader.read(symbol, timeframe, start_ms, end_ms)
        return found.between(0, self.time_ms) if symbol == COIN else found

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        found = self.reader.read_funding(symbol, start_ms, end_ms)
        return found.between(0, self.time_ms) if symbol == COIN else found


def trades(chosen: list[SelectedStrategy], reader: CandleReader, ending: Ending | None) -> list[ForwardTrade]:
    endings = NO_ENDINGS if ending is None else {COIN: ending}
    tested = run_forward_tests(reader, chosen, end_ms=END, min_confidence=0, costs=COSTS, endings=endings)
    assert not tested.failures
    return tested.of(chosen)


def open_at(timeframe: str) -> tuple[list[SelectedStrategy], int]:
    """Selections of the coin, and a moment at which the longest of their trades is half over."""
    chosen = selections(36, COIN, timeframe=timeframe)
    longest = max(trades(chosen, market(), None), key=lambda one: one.exit_ms - one.entry_ms)
    step = Timeframe(timeframe).ms
    middle = (longest.entry_ms + longest.exit_ms) // 2 // step * step
    assert longest.entry_ms < middle < longest.exit_ms - step
    return chosen, middle


@pytest.mark.parametrize("timeframe", ["5m", "30m"])
@pytest.mark.parametrize("price", [None, 1.0])
def test_a_position_ends_with_its_coin_at_the_settlement_or_the_last_price(timeframe: str, price: float | None) -> None:
    chosen, moment = open_at(timeframe)
    reader = Cut(market(), moment)
    stands_still = trades(chosen, reader, None)
    assert {one.reason for one in stands_still if one.exit_ms > moment} == {OPEN}
    found = trades(chosen, reader, Ending(moment, price))
    # A signal on the last bar has no bar to be traded in.
    left_open = [one for one in stands_still if one.reason == OPEN and one.entry_ms < moment]
    ended = [one for one in found if one.reason == DELISTED]
    assert len(ended) == len(left_open) > 0
    last = float(reader.read(COIN, Timeframe(timeframe), moment - HOUR_MS, moment).close[-1])
    out = last if price is None else price
    for one, open_one in zip(ended, left_open, strict=True):
        assert (one.entry_ms, one.exit_ms, one.exit_price, one.closed) == (open_one.entry_ms, moment, out, True)
        assert one.fees == pytest.approx(open_one.fees + one.size * out * COSTS.fee)
        gain = one.direction * one.size * (out - one.entry_price)
        assert one.pnl == pytest.approx(gain - one.fees - one.funding)
    closed = [[one.pnl for one in some if one.reason not in (DELISTED, OPEN)] for some in (found, stands_still)]
    assert closed[0] == closed[1]


def test_an_end_in_the_middle_of_a_bar_is_its_own_time_and_nothing_is_entered_later() -> None:
    chosen, moment = open_at("30m")
    within = moment - 7 * 60_000
    found = trades(chosen, Cut(market(), within - 23 * 60_000), Ending(within))
    assert {one.exit_ms for one in found if one.reason == DELISTED} == {within}
    assert all(one.entry_ms < within for one in found)


def test_the_report_has_the_coin_before_its_end_and_says_what_became_of_its_positions() -> None:
    chosen, moment = open_at("5m")
    chosen += selections(36, OTHER, timeframe="5m")
    report = walk_forward(
        Cut(market(), moment),
        chosen,
        [],
        settings(**UNLIMITED, report_random_choices=0),
        endings={COIN: Ending(moment), "GONEUSDT": Ending(moment)},
    )
    of_coin = report.main.trades[report.main.trades["symbol"] == COIN]
    assert (of_coin["reason"] == DELISTED).sum() == 1
    assert len(of_coin) > 1
    (note,) = [note for note in report.notes if "delisted" in note]
    assert note.startswith(COIN) and "1 of its positions ended then, at the last price" in note


def test_a_live_venue_says_by_its_announcements_what_has_ended_unless_it_was_traded_later(
    sqlite: Database,
) -> None:
    moment, now = HOUR + 3 * HOUR_MS, HOUR + 30 * HOUR_MS
    told = [an_instrument(COIN, delivery_ms=moment), an_instrument(OTHER, delivery_ms=moment)]
    told.append(an_instrument("XRPUSDT", delivery_ms=now + HOUR_MS))
    deliveries.note(sqlite, "testnet", told, HOUR)
    found = endings(SeededSource(now, Cut(market(), moment)), sqlite, "testnet")
    assert found == {COIN: Ending(moment)}


def test_a_signal_on_the_bar_in_which_the_coin_ended_is_not_traded() -> None:
    chosen = selections(36, COIN, timeframe="30m")
    entry_ms = trades(chosen, market(), None)[2].entry_ms
    found = trades(chosen, Cut(market(), entry_ms), Ending(entry_ms - 7 * 60_000))
    assert found and all(one.entry_ms < entry_ms - 7 * 60_000 for one in found)
