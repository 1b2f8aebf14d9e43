"""The live market, and an account that lives on it: prices are told by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import OrderCommand, StopCommand
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.market.base import DataError, Stats24h, UnknownPriceError
from trading_assets.simulator.market.live import LiveMarket
from trading_assets.simulator.market.quotes import DayRow, Limits, MissedCandle, Quote
from trading_assets.simulator.persistence import LIVE
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets_tests.simulator.fake_market import ALT, BTC, HOUR, MINUTE, T0

D = Decimal
SYMBOL = "BTCUSDT"
START = T0 + 8 * HOUR + 10 * MINUTE
STATS = Stats24h(99_000.0, 101_000.0, 98_000.0, 10.0, 1e6, 99_900.0)
FUNDING_DUE = T0 + 16 * HOUR


def quote(last: float, *, spread: float = 1.0, size: float = 5.0) -> Quote:
    return Quote(last, last + 0.5, last - 0.5, last - spread / 2, size, last + spread / 2, size)


@dataclass
class Paper:
    """A live market, its clock and its account."""

    now: int = START
    market: LiveMarket = field(init=False)
    venue: Venue = field(init=False)

    def __post_init__(self) -> None:
        self.market = LiveMarket(lambda: self.now, Limits(lag_ms=3000, stale_ms=10_000, give_up_ms=120_000))
        self.market.list_contracts([BTC, ALT], self.now)
        self.venue = Venue(ServeConfig(deposit=D(1_000_000)), self.market, LIVE, lambda: self.now, content="Bybit")

    def at(self, after_ms: int) -> Paper:
        self.now = START + after_ms
        return self

    def tell(self, last: float, *, rate: float | None = None, symbol: str = SYMBOL, stream: bool = True) -> None:
        day = DayRow(STATS, 1.0, rate, FUNDING_DUE)
        self.market.tell(symbol, self.now, quote(last), day, stream=stream)

    def trade(self, price: float) -> None:
        self.market.trade(SYMBOL, self.now, price, 0.1)

    def live(self) -> None:
        self.venue.transact(lambda now: None)

    def buy(self, qty: str = "0.1", stop: str | None = None, target: str | None = None) -> Decimal:
        """The average price of the fill."""
        command = OrderCommand(
            SYMBOL,
            Side.BUY,
            D(qty),
            stop_loss=D(stop) if stop else None,
            take_profit=D(target) if target else None,
        )
        order = self.venue.transact(lambda now: self.venue.engine.place_order(command, now))
        fills = [one for one in self.venue.engine.state.executions if one.order_id == order.order_id]
        return sum((one.price * one.qty for one in fills), D(0)) / sum((one.qty for one in fills), D(0))

    @property
    def size(self) -> Decimal:
        return self.venue.engine.state.look_up(SYMBOL).size

    @property
    def last_fill(self) -> tuple[int, Decimal]:
        done = self.venue.engine.state.executions[-1]
        return done.time_ms, done.price


@pytest.fixture
def paper() -> Paper:
    found = Paper()
    found.tell(100_000.0)
    return found


def refusal(call: object) -> int:
    with pytest.raises(Refusal) as caught:
        call()  # type: ignore[operator]
    return caught.value.ret_code


def test_a_market_order_takes_the_told_ask_and_further_levels_a_spread_worse_each(paper: Paper) -> None:
    assert paper.buy("5") == D("100000.5")
    paper.at(1000).tell(100_000.0)
    assert paper.buy("10") == (D("100000.5") + D("100001.5")) / 2


def test_a_stop_is_triggered_by_the_trade_that_touches_it_and_fills_at_the_bid(paper: Paper) -> None:
    paper.buy(stop="99900", target="100100")
    paper.at(500).tell(99_950.0)
    paper.live()
    assert paper.size == D("0.1")
    paper.at(900).trade(99_899.0)
    paper.at(1000).live()
    assert paper.size == 0
    assert paper.last_fill == (START + 900, D("99899.0"))  # a trade below the bid takes the bid with it


def test_a_target_between_two_prices_fills_when_the_second_is_told(paper: Paper) -> None:
    paper.buy(stop="99900", target="100100")
    paper.at(2000).tell(100_200.0)
    paper.live()
    assert paper.last_fill == (START + 2000, D("100199.5"))


def test_nothing_is_traded_at_a_price_that_is_too_old_or_none(paper: Paper) -> None:
    paper.buy(stop="99900")
    paper.at(10_500)
    assert refusal(paper.buy) == 110118
    stops = StopCommand(SYMBOL, stop_loss=D("99800"))
    change = lambda: paper.venue.transact(lambda now: paper.venue.engine.change_stops(stops, now))  # noqa: E731
    assert refusal(change) == 10016
    assert refusal(Paper().buy) == 110118
    # What it is worth is still told, at the last price.
    assert paper.venue.transact(lambda now: paper.venue.engine.figures(now).margin_balance) < 1_000_000


def test_what_is_worth_nothing_known_is_not_guessed() -> None:
    with pytest.raises(UnknownPriceError):
        Paper().market.mark_price(SYMBOL, START)


def test_the_account_stands_still_in_a_gap_and_then_lives_through_its_candles(paper: Paper) -> None:
    paper.buy(stop="99900", target="100300")
    gap_from = START + 1000
    paper.at(1000).tell(100_000.0)
    paper.live()
    paper.at(200_000).live()
    assert paper.venue.engine.state.header.settled_ms == gap_from
    paper.tell(100_050.0)  # the stream is back, and what was between is not known
    paper.live()
    assert paper.venue.engine.state.header.settled_ms == gap_from
    assert refusal(paper.buy) == 110118
    minute = START + MINUTE
    candles = [
        MissedCandle(START, 100_000.0, 100_010.0, 99_990.0, 99_995.0, 1.0),
        MissedCandle(minute, 99_995.0, 100_010.0, 99_850.0, 99_900.0, 1.0),
        MissedCandle(minute + MINUTE, 99_900.0, 100_400.0, 99_900.0, 100_350.0, 1.0),
        MissedCandle(minute + 2 * MINUTE, 100_350.0, 100_350.0, 100_050.0, 100_050.0, 1.0),
    ]
    paper.market.fill(SYMBOL, candles, START + 200_000)
    paper.live()
    assert paper.size == 0
    at, price = paper.last_fill
    assert minute < at < minute + MINUTE  # the stop came first, minutes before the target's price
    assert price == D("99849.5")
    assert paper.buy() == D("100050.5")  # the account is where the market is


def test_a_candle_of_the_minute_of_the_entry_tells_nothing_of_what_was_before_it(paper: Paper) -> None:
    paper.at(30_000).tell(100_000.0)
    paper.buy(stop="99900")
    paper.at(36_000)
    paper.market.fill(SYMBOL, [MissedCandle(START, 99_800.0, 100_000.0, 99_700.0, 99_990.0, 1.0)], START + 36_000)
    paper.live()
    assert paper.size == D("0.1")
    # But a minute that was heard from its begin on does: here only the end of it was missed.
    later = START + MINUTE
    for second in range(37, 90, 2):
        paper.at(second * 1000).tell(100_000.0)
        paper.live()
    paper.at(110_000)
    paper.market.fill(SYMBOL, [MissedCandle(later, 100_000.0, 100_000.0, 99_850.0, 99_990.0, 1.0)], START + 110_000)
    paper.live()
    assert paper.size == 0
    assert paper.last_fill[0] > START + 89_000


def test_a_price_that_comes_late_happens_late_and_is_not_lost(paper: Paper) -> None:
    paper.buy(stop="99900")
    paper.at(2000).live()  # the account has lived through it
    paper.market.trade(SYMBOL, START + 1000, 99_890.0, 0.1)
    paper.at(2100).live()
    assert paper.size == 0
    assert paper.last_fill[0] == START + 2001


def test_a_connection_that_is_heard_and_tells_nothing_new_is_no_gap(paper: Paper) -> None:
    paper.buy(stop="99900")
    for after in range(1000, 60_000, 1000):
        paper.at(after).market.unchanged([SYMBOL], paper.now)
        paper.live()
    assert paper.market.gaps() == {}
    assert paper.buy() == D("100000.5")


def test_rest_alone_tells_a_price_but_not_that_nothing_was_missed(paper: Paper) -> None:
    paper.buy(stop="99900")
    paper.live()
    for after in range(1000, 8000, 1000):
        paper.at(after).tell(100_000.0 + after / 1000, stream=False)
        paper.live()
    assert paper.market.gaps() == {SYMBOL: START}
    assert paper.venue.engine.state.header.settled_ms == START + 3000


def test_funding_waits_for_the_rate_that_is_paid(paper: Paper) -> None:
    paper.buy("1")
    wallet = paper.venue.engine.state.balances["USDT"].wallet
    before = FUNDING_DUE - START
    paper.at(before - 5 * HOUR).tell(100_000.0, rate=0.0007)  # foreseen, hours before
    paper.market.fill(SYMBOL, [], paper.now)
    paper.at(before + 1000)
    paper.market.fill(SYMBOL, [], paper.now)
    paper.live()
    assert paper.venue.engine.state.header.settled_ms == FUNDING_DUE - 1
    assert paper.market.unpaid() == {SYMBOL: FUNDING_DUE}
    paper.market.pay(SYMBOL, FUNDING_DUE, 0.0001)
    paper.live()
    assert paper.venue.engine.state.balances["USDT"].wallet == wallet - D("0.0001") * D("100000.5")
    assert paper.venue.engine.state.header.settled_ms == paper.now


def test_the_rate_that_was_told_in_the_minute_before_is_what_is_paid(paper: Paper) -> None:
    paper.buy("1")
    wallet = paper.venue.engine.state.balances["USDT"].wallet
    paper.at(FUNDING_DUE - START - 1000)
    paper.market.fill(SYMBOL, [], paper.now)
    paper.tell(100_000.0, rate=-0.0002)
    paper.live()
    paper.at(FUNDING_DUE - START + 100).tell(100_000.0)
    paper.live()
    assert paper.venue.engine.state.balances["USDT"].wallet == wallet + D("0.0002") * D("100000.5")


def test_a_contract_that_is_listed_no_more_is_closed_at_its_last_price(paper: Paper) -> None:
    paper.buy(stop="99900")
    paper.at(2000).tell(100_010.0)
    paper.market.list_contracts([ALT], paper.now)
    paper.at(2500).live()
    assert paper.size == 0
    assert paper.venue.engine.state.executions[-1].exec_type == "Delivery"
    assert paper.last_fill[1] == D("100010.5")  # the mark price
    assert not [order for order in paper.venue.engine.state.open_orders.values() if order.symbol == SYMBOL]
    assert refusal(paper.buy) == 110074


def test_a_contract_that_falls_silent_alone_does_not_stop_the_others(paper: Paper) -> None:
    paper.buy(stop="99900")
    for after in range(1000, 130_000, 2000):
        paper.at(after).tell(0.05, symbol="ALTUSDT")
    paper.live()
    assert paper.venue.engine.state.header.settled_ms == paper.now
    order = OrderCommand("ALTUSDT", Side.BUY, D(1000))
    paper.venue.transact(lambda now: paper.venue.engine.place_order(order, now))
    assert refusal(paper.buy) == 110118  # its own price is too old


def test_there_are_no_candles_and_no_trailing_stops(paper: Paper) -> None:
    with pytest.raises(DataError, match="keeps no candles"):
        paper.market.candles(SYMBOL, "60", START, START + HOUR, START + HOUR)
    paper.buy()
    trailing = StopCommand(SYMBOL, trailing_stop=D(100))
    assert refusal(lambda: paper.venue.transact(lambda now: paper.venue.engine.change_stops(trailing, now))) == 10001


def test_the_tape_is_bounded_and_keeps_what_the_account_has_not_lived_through(paper: Paper) -> None:
    paper.buy(stop="99000")
    for number in range(1, 9000):
        paper.at(number * 200).tell(100_000.0 + number % 7)
        if number % 50 == 0:
            paper.live()
    tape = paper.market._tapes[SYMBOL]
    assert 3000 <= len(tape.times) <= 5000
    assert len(paper.market._tapes["ALTUSDT"].times) == 0


def test_quotes_of_before_a_restart_value_a_position_and_fill_no_order(paper: Paper) -> None:
    paper.buy()
    paper.live()
    kept = paper.market.remembered()
    fresh = Paper()
    fresh.market.recall(kept)
    assert fresh.market.mark_price(SYMBOL, START) == 100_000.5
    assert refusal(fresh.buy) == 110118


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_a_book_with_one_side_alone_fills_nothing_on_the_other(paper: Paper, side: str) -> None:
    empty = replace(quote(100_000.0), **{side: 0.0, f"{side}_size": 0.0})
    paper.at(100).market.tell(SYMBOL, paper.now, empty, stream=True)
    bids, asks = paper.market.book(SYMBOL, paper.now, 50)
    assert (len(bids) == 0) is (side == "bid")
    assert (len(asks) == 0) is (side == "ask")
    if side == "ask":
        command = OrderCommand(SYMBOL, Side.BUY, D("0.1"))
        order = paper.venue.transact(lambda now: paper.venue.engine.place_order(command, now))
        assert (order.filled_qty, order.reject_reason) == (0, "EC_NoImmediateQtyToFill")
