"""The connector on the real embedded exchange, whose clock stands until a test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    InsufficientBalanceError,
    NotSentError,
    OrderEndedError,
    OrderRejectedError,
)
from trading_assets.core.models import (
    CancelledBy,
    FillKind,
    Instrument,
    Order,
    OrderAck,
    OrderChange,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    RejectReason,
    Side,
)
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.exchange import market_rows
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.market.base import Bars
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.simulator.server import ENDPOINTS
from trading_assets.simulator.venue import ServeConfig
from trading_assets_tests.exchange.stub import keys_of

NOW = 1_772_452_800_000 + 37 * MINUTE_MS + 12_345  # 2026-03-02T12:37:12Z
SYMBOL = "SOLUSDT"


@pytest.fixture(scope="module")
def market() -> SeededMarket:
    return SeededMarket(7, 12)


@pytest.fixture
def running(market: SeededMarket) -> Iterator[RunningExchange]:
    config = ServeConfig(symbols=12, clock=ClockSpec(ClockMode.MANUAL, NOW))
    with serve_in_thread(config, market) as exchange:
        yield exchange


@pytest.fixture
def exchange(running: RunningExchange) -> Iterator[BybitExchange]:
    connection = Connection(url=running.url, keys=keys_of(running.key, running.secret))
    connector = BybitExchange(Transport(connection, limited=False), virtual_clock=True)
    yield connector
    connector.close()


def instrument_of(exchange: BybitExchange, symbol: str) -> Instrument:
    return next(i for i in exchange.instruments() if i.symbol == symbol)


def on_tick(price: Decimal, instrument: Instrument) -> Decimal:
    return (price / instrument.tick_size).quantize(Decimal(1), ROUND_DOWN) * instrument.tick_size


def enter(
    exchange: BybitExchange, side: Side, *, stop_pct: str, target_pct: str, link: str = "entry-1"
) -> OrderRequest:
    """A market order of about 500 USD with its stops so many percent away."""
    instrument = instrument_of(exchange, SYMBOL)
    last = exchange.ticker(SYMBOL).last
    sign = 1 if side is Side.BUY else -1
    request = OrderRequest(
        SYMBOL,
        side,
        on_tick(Decimal(500) / last / instrument.qty_step, instrument) // 1 * instrument.qty_step,
        link,
        stop_loss=on_tick(last * (1 - sign * Decimal(stop_pct) / 100), instrument),
        take_profit=on_tick(last * (1 + sign * Decimal(target_pct) / 100), instrument),
    )
    ack = exchange.place_order(request)
    assert ack.order_link_id == link
    return request


def same(candles: Candles, bars: Bars) -> None:
    names = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
    assert np.array_equal(np.column_stack([getattr(candles, name) for name in names]), bars)


def test_the_time_is_the_venues(exchange: BybitExchange, running: RunningExchange) -> None:
    assert exchange.now_ms() == NOW
    running.advance(HOUR_MS)
    assert exchange.now_ms() == NOW + HOUR_MS


def test_every_contract_of_the_market_is_listed(exchange: BybitExchange, market: SeededMarket) -> None:
    listed = {i.symbol: i for i in exchange.instruments()}
    assert set(listed) == set(market.contracts)
    for symbol, contract in market.contracts.items():
        assert listed[symbol].tick_size == contract.tick_size
        assert listed[symbol].qty_step == contract.qty_step
        assert listed[symbol].listed_ms == contract.launch_ms
        assert listed[symbol].funding_interval_min == contract.funding_interval_min


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_candles_are_the_markets_closed_ones(
    exchange: BybitExchange, market: SeededMarket, timeframe: Timeframe
) -> None:
    start, end = NOW - 37 * timeframe.ms, NOW + 5 * timeframe.ms
    candles = exchange.candles(SYMBOL, timeframe, start, end)
    bars = market.bars(SYMBOL, market_rows.INTERVALS[timeframe], start, end, NOW)
    same(candles, bars[bars[:, 0] + timeframe.ms <= NOW])
    assert len(candles) in (36, 37)


def test_candles_over_many_pages_have_no_seam(exchange: BybitExchange, market: SeededMarket) -> None:
    start = NOW - 3 * DAY_MS
    candles = exchange.candles(SYMBOL, Timeframe.M1, start, NOW)
    bars = market.bars(SYMBOL, "1", start, NOW, NOW)
    same(candles, bars[bars[:, 0] + MINUTE_MS <= NOW])
    assert np.all(np.diff(candles.start_ms) == MINUTE_MS)


def test_there_are_no_candles_of_the_future_or_before_the_launch(exchange: BybitExchange, market: SeededMarket) -> None:
    assert len(exchange.candles(SYMBOL, Timeframe.M60, NOW, NOW + DAY_MS)) == 0
    launch = market.contracts[SYMBOL].launch_ms
    first = exchange.candles(SYMBOL, Timeframe.M60, launch - 5 * DAY_MS, launch + 3 * HOUR_MS)
    assert first.start_ms.tolist() == [launch + i * HOUR_MS for i in range(3)]


def test_funding_over_many_pages_is_the_markets(exchange: BybitExchange, market: SeededMarket) -> None:
    interval = market.contracts[SYMBOL].funding_interval_min * MINUTE_MS
    start = NOW - 450 * interval
    found = exchange.funding(SYMBOL, start, NOW)
    assert found.time_ms.tolist() == list(range(-(-start // interval) * interval, NOW, interval))
    assert len(found) > 400
    rates = [market.funding_rate(SYMBOL, int(t)) for t in found.time_ms[::40]]
    assert found.rate[::40].tolist() == pytest.approx(rates, abs=1e-12)


def test_the_ticker_and_the_book_agree(exchange: BybitExchange) -> None:
    ticker, book = exchange.ticker(SYMBOL), exchange.order_book(SYMBOL, 50)
    assert ticker == exchange.tickers()[SYMBOL]
    assert (ticker.bid, ticker.ask) == (book.bids[0][0], book.asks[0][0])
    assert ticker.bid < ticker.ask
    assert ticker.bid <= ticker.last <= ticker.ask
    assert len(book.bids) == len(book.asks) == 50
    assert ticker.next_funding_ms > NOW


def test_leverage_may_be_set_twice(exchange: BybitExchange) -> None:
    exchange.set_leverage(SYMBOL, Decimal("7"))
    exchange.set_leverage(SYMBOL, Decimal("7.00"))
    enter(exchange, Side.BUY, stop_pct="5", target_pct="10")
    held = exchange.position(SYMBOL)
    assert held is not None
    assert held.leverage == 7


def test_an_order_opens_a_position_with_its_stops(exchange: BybitExchange) -> None:
    assert exchange.position(SYMBOL) is None
    assert list(exchange.positions()) == []
    request = enter(exchange, Side.BUY, stop_pct="3", target_pct="6")
    order = exchange.find_order(SYMBOL, "entry-1")
    assert order is not None
    assert (order.status, order.filled_qty, order.side) == (OrderStatus.FILLED, request.qty, Side.BUY)
    assert order.average_price is not None
    assert exchange.order(SYMBOL, order.order_id) == order
    held = exchange.position(SYMBOL)
    assert held is not None
    assert (held.side, held.size, held.entry_price) == (Side.BUY, request.qty, order.average_price)
    assert (held.stop_loss, held.take_profit) == (request.stop_loss, request.take_profit)
    assert list(exchange.positions()) == [held]
    kinds = {o.purpose: o for o in exchange.open_orders(SYMBOL)}
    assert set(kinds) == {OrderPurpose.STOP, OrderPurpose.TARGET}
    assert all(o.reduce_only and o.side is Side.SELL for o in kinds.values())


def test_an_unknown_order_is_none(exchange: BybitExchange) -> None:
    assert exchange.find_order(SYMBOL, "never-sent") is None
    assert exchange.order(SYMBOL, "00000000-0000-0000-0000-000000000000") is None


def test_a_link_id_used_twice_is_not_a_second_order(exchange: BybitExchange) -> None:
    from trading_assets.core.errors import AmbiguousOutcomeError

    request = enter(exchange, Side.BUY, stop_pct="5", target_pct="10")
    with pytest.raises(AmbiguousOutcomeError):
        exchange.place_order(request)
    held = exchange.position(SYMBOL)
    assert held is not None
    assert held.size == request.qty


@pytest.mark.slow
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_position_ends_at_its_stop_or_its_target(
    exchange: BybitExchange, running: RunningExchange, side: Side
) -> None:
    balance = exchange.wallet().wallet_balance
    request = enter(exchange, side, stop_pct="1", target_pct="1")
    for _ in range(400):
        running.advance(10 * MINUTE_MS)
        if exchange.position(SYMBOL) is None:
            break
    assert exchange.position(SYMBOL) is None
    assert list(exchange.open_orders(SYMBOL)) == []
    now = exchange.now_ms()
    [closing] = exchange.closed_pnl(NOW, now + 1)
    assert (closing.qty, closing.side) == (request.qty, side.opposite)
    sign = 1 if side is Side.BUY else -1
    gross = sign * (closing.exit_price - closing.entry_price) * closing.qty
    assert closing.pnl == pytest.approx(gross - closing.open_fee - closing.close_fee, abs=Decimal("0.00000002"))
    why = exchange.order(SYMBOL, closing.order_id)
    assert why is not None
    assert why.purpose is (OrderPurpose.TARGET if gross > 0 else OrderPurpose.STOP)
    assert why.status is OrderStatus.FILLED
    rows = exchange.executions(NOW, now + 1)
    trades = [row for row in rows if row.kind is FillKind.TRADE]
    assert [row.side for row in trades] == [side, side.opposite]
    assert trades[0].order_link_id == "entry-1"
    assert trades[1].closed_size == request.qty
    assert [row.time_ms for row in rows] == sorted(row.time_ms for row in rows)
    assert all(row.kind in (FillKind.TRADE, FillKind.FUNDING) for row in rows)
    paid = sum(row.fee for row in rows if row.kind is FillKind.FUNDING)
    change = exchange.wallet().wallet_balance - balance
    assert change == pytest.approx(closing.pnl - paid, abs=Decimal("0.00001"))


def test_a_position_is_closed_by_a_reduce_only_order_and_its_stops_go_with_it(exchange: BybitExchange) -> None:
    request = enter(exchange, Side.SELL, stop_pct="5", target_pct="10")
    exchange.place_order(OrderRequest(SYMBOL, Side.BUY, request.qty, "exit-1", reduce_only=True))
    assert exchange.position(SYMBOL) is None
    assert list(exchange.open_orders()) == []
    with pytest.raises(OrderRejectedError):
        exchange.place_order(OrderRequest(SYMBOL, Side.BUY, request.qty, "exit-2", reduce_only=True))


def test_stops_are_moved_left_alone_and_taken_away(exchange: BybitExchange) -> None:
    request = enter(exchange, Side.BUY, stop_pct="5", target_pct="10")
    exchange.set_stops(SYMBOL, request.stop_loss, request.take_profit)
    assert request.take_profit is not None
    moved = request.take_profit + instrument_of(exchange, SYMBOL).tick_size * 10
    exchange.set_stops(SYMBOL, request.stop_loss, moved)
    held = exchange.position(SYMBOL)
    assert held is not None
    assert (held.stop_loss, held.take_profit) == (request.stop_loss, moved)
    exchange.set_stops(SYMBOL, request.stop_loss, None)
    held = exchange.position(SYMBOL)
    assert held is not None
    assert held.take_profit is None


def test_stops_without_a_position_are_refused(exchange: BybitExchange) -> None:
    with pytest.raises(OrderRejectedError):
        exchange.set_stops(SYMBOL, Decimal(1), None)


def test_more_than_the_margin_allows_is_refused_and_nothing_is_placed(exchange: BybitExchange) -> None:
    exchange.set_leverage(SYMBOL, Decimal(1))
    instrument = instrument_of(exchange, SYMBOL)
    qty = Decimal(20_000) / exchange.ticker(SYMBOL).last // instrument.qty_step * instrument.qty_step
    with pytest.raises(InsufficientBalanceError):
        exchange.place_order(OrderRequest(SYMBOL, Side.BUY, qty, "too-much"))
    assert exchange.position(SYMBOL) is None
    assert list(exchange.executions(NOW - DAY_MS, NOW + 1)) == []


def test_margin_of_an_open_position_is_not_available(exchange: BybitExchange) -> None:
    before = exchange.wallet()
    assert before.available == before.equity == 10_000
    exchange.set_leverage(SYMBOL, Decimal(10))
    enter(exchange, Side.BUY, stop_pct="5", target_pct="10")
    after = exchange.wallet()
    assert after.initial_margin > 45
    assert after.available < before.available - 45
    assert after.equity < before.equity


def test_the_accounts_own_fees_are_told_for_every_contract(exchange: BybitExchange) -> None:
    rates = {rate.symbol: rate for rate in exchange.fee_rates()}
    assert set(rates) == {instrument.symbol for instrument in exchange.instruments()}
    assert (rates["BTCUSDT"].taker, rates["BTCUSDT"].maker) == (Decimal("0.00055"), Decimal("0.0002"))


def resting(exchange: BybitExchange, link: str, *, below_pct: str = "1", post_only: bool = True) -> OrderRequest:
    """A buying limit order of about 500 USD, so many percent below the best bid."""
    instrument, bid = instrument_of(exchange, SYMBOL), exchange.ticker(SYMBOL).bid
    price = on_tick(bid * (1 - Decimal(below_pct) / 100), instrument)
    qty = (500 / price / instrument.qty_step).quantize(Decimal(1), ROUND_DOWN) * instrument.qty_step
    return OrderRequest(
        SYMBOL,
        Side.BUY,
        qty,
        link,
        stop_loss=on_tick(price * Decimal("0.95"), instrument),
        take_profit=on_tick(price * Decimal("1.2"), instrument),
        price=price,
        post_only=post_only,
    )


def seen(exchange: BybitExchange, link: str) -> Order:
    order = exchange.find_order(SYMBOL, link)
    assert order is not None
    return order


def test_a_limit_order_rests_is_changed_and_cancelled(exchange: BybitExchange) -> None:
    request = resting(exchange, "limit-1")
    exchange.place_order(request)
    order = seen(exchange, "limit-1")
    assert (order.status, order.price, order.post_only) == (OrderStatus.NEW, request.price, True)
    assert (order.stop_loss, order.take_profit) == (request.stop_loss, request.take_profit)
    instrument = instrument_of(exchange, SYMBOL)
    assert request.price is not None
    change = OrderChange(
        SYMBOL, "limit-1", qty=request.qty + instrument.qty_step, price=request.price - instrument.tick_size
    )
    for _ in range(2):  # the second is "not modified"
        exchange.amend_order(change)
    assert (seen(exchange, "limit-1").price, seen(exchange, "limit-1").qty) == (change.price, change.qty)
    for _ in range(2):
        exchange.cancel_order(SYMBOL, "limit-1")
    order = seen(exchange, "limit-1")
    assert (order.status, order.cancelled_by) == (OrderStatus.CANCELLED, CancelledBy.REQUEST)
    with pytest.raises(OrderEndedError):
        exchange.amend_order(change)
    with pytest.raises(OrderEndedError):
        exchange.amend_order(OrderChange(SYMBOL, "limit-none", price=change.price))


def test_a_post_only_order_that_would_take_ends_after_it_was_accepted(exchange: BybitExchange) -> None:
    exchange.place_order(resting(exchange, "limit-1", below_pct="-1"))
    order = seen(exchange, "limit-1")
    assert (order.status, order.reject_reason, order.filled_qty) == (OrderStatus.CANCELLED, RejectReason.POST_ONLY, 0)


def test_a_limit_order_that_meets_the_market_is_filled_with_its_stop(exchange: BybitExchange) -> None:
    request = resting(exchange, "limit-1", below_pct="-1", post_only=False)
    exchange.place_order(request)
    held = exchange.position(SYMBOL)
    assert held is not None
    assert (held.size, held.stop_loss) == (request.qty, request.stop_loss)


def test_orders_of_ours_never_trade_with_each_other(exchange: BybitExchange) -> None:
    enter(exchange, Side.BUY, stop_pct="10", target_pct="20")
    exchange.place_order(resting(exchange, "limit-1", below_pct="0"))
    bid = seen(exchange, "limit-1").price
    assert bid is not None
    selling = OrderRequest(SYMBOL, Side.SELL, seen(exchange, "limit-1").qty, "limit-2", price=bid)
    exchange.place_order(selling)
    assert seen(exchange, "limit-2").cancelled_by is CancelledBy.SELF_MATCH
    assert not seen(exchange, "limit-1").status.is_final
    exchange.place_order(OrderRequest(SYMBOL, Side.SELL, selling.qty, "exit-1", reduce_only=True))
    assert seen(exchange, "exit-1").status is OrderStatus.FILLED  # the exit goes first
    assert not [row for row in exchange.executions(NOW - DAY_MS, NOW + DAY_MS) if row.is_maker]


def test_a_batch_tells_the_outcome_of_each_order(exchange: BybitExchange) -> None:
    requests = [resting(exchange, f"limit-{number}") for number in range(1, 12)]
    requests[3] = resting(exchange, "limit-1")  # a used id
    found = exchange.place_orders(requests)
    assert [isinstance(one, OrderAck) for one in found] == [number != 3 for number in range(11)]
    assert isinstance(found[3], AmbiguousOutcomeError)  # of a used id it is asked what became of it
    instrument = instrument_of(exchange, SYMBOL)
    changes = [
        OrderChange(SYMBOL, f"limit-{number}", price=on_tick(Decimal(100 + number), instrument))
        for number in (1, 2, 99)
    ]
    outcomes = exchange.amend_orders(changes)
    assert outcomes[:2] == [None, None]
    assert isinstance(outcomes[2], OrderEndedError)
    assert seen(exchange, "limit-2").price == changes[1].price
    links = [(SYMBOL, f"limit-{number}") for number in (*range(1, 12), 99)]
    assert exchange.cancel_orders(links) == [None] * 12
    assert not exchange.open_orders(SYMBOL)


def test_after_a_part_of_a_batch_without_an_answer_the_rest_is_not_sent(running: RunningExchange) -> None:
    connection = Connection(url=running.url, keys=keys_of(running.key, running.secret))
    exchange = BybitExchange(Transport(connection, limited=False), virtual_clock=True)
    requests = [resting(exchange, f"limit-{number}") for number in range(20)]
    rule = {"where": "POST /v5/order/create-batch", "calls": 2, "ret_code": 10016, "processed": True}
    running.faults.add(parse_rules(rule, ENDPOINTS), running.now_ms())
    found = exchange.place_orders(requests)
    kinds = [type(one) for one in found]
    assert kinds == [OrderAck] * 8 + [AmbiguousOutcomeError] * 8 + [NotSentError] * 4
    assert len(exchange.open_orders(SYMBOL)) == 16
    exchange.close()
