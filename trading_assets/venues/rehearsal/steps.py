"""The steps of a rehearsal. Each is a row: what is expected, what was found. It ends as it began, whatever happens."""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from trading_assets.core.errors import (
    ConfigurationError,
    ExchangeError,
    OrderRejectedError,
    PriceRefusedError,
    TradingAssetsError,
)
from trading_assets.core.models import (
    ClosedPnl,
    ContractStatus,
    Execution,
    Order,
    OrderRequest,
    OrderStatus,
    Position,
    Side,
    Ticker,
)
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.streams import AccountChanged, ClosedCandle, Down, Up
from trading_assets.core.timeframes import MINUTE_MS, Timeframe, floor_ms, iso
from trading_assets.venues.accounts import examine_account
from trading_assets.venues.keys import judge_key
from trading_assets.venues.rehearsal.cleaning import clean, leftover, link, take_note
from trading_assets.venues.rehearsal.plan import RESTING_AWAY, Plan
from trading_assets.venues.rehearsal.report import RehearsalReport, Row, bps, number

FIRST_AWAY, SECOND_AWAY = Decimal("0.02"), Decimal("0.03")
"""Distances of stop and target at first, and after they were changed; fractions of the price."""

WITHIN_S = 30.0
CANDLE_WITHIN_S = 90.0
SLIPPAGE_BPS = Decimal(10)
CENT = Decimal("0.01")

_Found = tuple[object, object, bool]


def rehearse(
    exchange: Exchange,
    settings: Settings,
    found: Plan,
    tell: Callable[[Row], None],
    *,
    candle_within_s: float = CANDLE_WITHIN_S,
) -> RehearsalReport:
    """Go the whole way, and back, whatever happens on it.

    Args:
        exchange: at `settings.venue`.
        tell: takes each row as soon as it is known.

    Raises:
        ConfigurationError: an earlier rehearsal was not ended.
        StorageError: the home cannot be written.
    """
    if leftover(settings) is not None:
        raise ConfigurationError("an earlier rehearsal was not ended: run it again with --clean first")
    report = RehearsalReport(settings.venue.value, found.contract.symbol, f"{found.qty:f}")
    rehearsal = _Rehearsal(exchange, settings, found, report, tell, candle_within_s)
    try:
        rehearsal.run()
    finally:
        report.left = clean(exchange, settings)
        rehearsal.step("nothing is left", rehearsal.is_clean)
    return report


class _Rehearsal:
    """One way through. A step that fails is a row; what needs it is left out."""

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        found: Plan,
        report: RehearsalReport,
        tell: Callable[[Row], None],
        candle_within_s: float,
    ) -> None:
        self._exchange, self._settings, self._report, self._tell = exchange, settings, report, tell
        self._contract, self._qty = found.contract, found.qty
        self._symbol = found.contract.symbol
        self._run = secrets.token_hex(4)
        self._candle_within_s = candle_within_s
        self._heard: queue.Queue[AccountChanged | Up | Down] = queue.Queue()
        self._began_ms = exchange.now_ms()
        self._before: Decimal | None = None  # the leverage

    def step(self, name: str, look: Callable[[], _Found]) -> bool:
        """One row: expected, found, and whether that is well."""
        try:
            expected, found, ok = look()
        except TradingAssetsError as error:
            expected, found, ok = "no error", f"{type(error).__name__}: {error}", False
        row = Row(name, str(expected), str(found), ok)
        self._report.rows.append(row)
        self._tell(row)
        return ok

    def run(self) -> None:
        """The steps."""
        self.step("clock", self._clock)
        self.step("contract", self._listed)
        self.step("price", self._price)
        self.step("candles", self._candles)
        self.step("candle stream", self._candle_stream)
        self.step("API key", self._key)
        is_fit = self.step("account", self._account)
        self.step("fees", self._fees)
        self.step("books", self._wallet)
        with self._listening() as heard:
            self.step("account stream", lambda: ("connected", heard or "connected", not heard))
            if not is_fit or not self.step("leverage", self._leverage):
                return
            if not self.step("order with stops", self._open):
                return
            self.step("order stream", self._told)
            self.step("position and its stops", lambda: self._stops_are(FIRST_AWAY))
            self.step("same order again", self._again)
            self.step("stops changed", self._change)
            self.step("stop on the wrong side", self._wrong_side)
            self.step("resting order", self._rest)
            if self.step("close", self._close):
                self.step("history", self._history)
                self.step("money", self._money)

    def is_clean(self) -> _Found:
        """Whether the account is as it was."""
        expected = "no position, no order"
        if self._report.left:
            return expected, self._report.left, False
        position, orders = self._exchange.position(self._symbol), self._exchange.open_orders(self._symbol)
        if position is not None:
            return expected, f"a position of {position.size:f} that is not of this rehearsal", False
        found = f"no position, {len(orders) or 'no'} order"
        if self._before is None:
            return expected, found, not orders
        leverage = self._exchange.leverage(self._symbol)
        return (
            f"{expected}, leverage {self._before:f} as before",
            f"{found}, leverage {number(leverage)}",
            not orders and leverage == self._before,
        )

    # Before an order

    def _clock(self) -> _Found:
        offset, most = self._exchange.clock_offset_ms(), self._settings.max_clock_offset_ms
        return f"at most {most} ms", f"{offset:+d} ms", abs(offset) <= most

    def _listed(self) -> _Found:
        one = self._contract
        return (
            "Trading",
            f"{one.status.value}, tick {one.tick_size:f}, step {one.qty_step:f}, least {self._qty:f}",
            one.status is ContractStatus.TRADING,
        )

    def _price(self) -> _Found:
        ticker = self._exchange.ticker(self._symbol)
        spread = bps(ticker.ask, ticker.bid)
        most = self._settings.max_spread_pct * 100
        self._ticker = ticker
        return (
            f"bid below ask, spread at most {most:.0f} bps",
            f"{ticker.bid:f} / {ticker.ask:f}, {spread:.1f} bps",
            0 < ticker.bid < ticker.ask and spread <= most,
        )

    def _candles(self) -> _Found:
        now = self._exchange.now_ms()
        start = floor_ms(now, MINUTE_MS) - 30 * MINUTE_MS
        found = self._exchange.candles(self._symbol, Timeframe.M1, start, now)
        newest = iso(int(found.start_ms[-1])) if len(found) else "none"
        is_new = len(found) > 0 and now - int(found.start_ms[-1]) <= 3 * MINUTE_MS
        return (
            "30 closed minutes, the newest closed just now",
            f"{len(found)}, newest {newest}",
            is_new and len(found) >= 29,
        )

    def _candle_stream(self) -> _Found:
        told: queue.Queue[Any] = queue.Queue()
        adapter, topic = self._settings.venue.adapter, (self._symbol, Timeframe.M1)
        stream = adapter.open_candle_stream(self._settings, [topic], told.put)
        stream.start()
        deadline, reason = time.monotonic() + self._candle_within_s, "nothing was told"
        try:
            while time.monotonic() < deadline:
                try:
                    event = told.get(timeout=1.0)
                except queue.Empty:
                    continue
                if isinstance(event, Down):
                    reason = event.reason
                if isinstance(event, ClosedCandle) and event.symbol == self._symbol:
                    return self._same_candle(event)
        finally:
            stream.stop()
        return "a closed candle, the same as by REST", reason, False

    def _same_candle(self, event: ClosedCandle) -> _Found:
        """A stream may be a moment ahead of REST."""
        expected = "a closed candle, the same as by REST"
        for _ in range(20):
            found = self._exchange.candles(self._symbol, Timeframe.M1, event.start_ms, event.start_ms + MINUTE_MS)
            if len(found):
                values = tuple(
                    float(column[0])
                    for column in (found.open, found.high, found.low, found.close, found.volume, found.turnover)
                )
                return (
                    expected,
                    "the same" if values == event.values else f"{event.values}, {values}",
                    values == event.values,
                )
            time.sleep(0.5)
        return expected, "REST does not have it", False

    def _key(self) -> _Found:
        verdict = judge_key(self._exchange.api_key(), self._exchange.now_ms())
        return "it may trade", "; ".join((verdict.summary, *verdict.faults, *verdict.warnings)), not verdict.faults

    def _account(self) -> _Found:
        verdict = examine_account(self._exchange, self._settings.symbols)
        found = "; ".join((verdict.summary, *verdict.faults, *verdict.warnings))
        return "unified, cross margin, one-way", found, not verdict.faults and not verdict.changes

    def _fees(self) -> _Found:
        expected = f"taker {self._settings.taker_fee * 100:g} %, as the setting"
        try:
            rates = {rate.symbol: rate for rate in self._exchange.fee_rates()}
        except OrderRejectedError:
            return expected, "this venue does not tell them: the fill will", True
        rate = rates.get(self._symbol)
        if rate is None:
            return expected, "none of this contract", False
        return expected, f"taker {rate.taker * 100:f} %", float(rate.taker) == self._settings.taker_fee

    def _wallet(self) -> _Found:
        wallet = self._exchange.wallet()
        self._balance = wallet.balances.get(self._settings.symbols.settle_coin, Decimal(0))
        needed, free = self._qty * self._ticker.last, wallet.available
        found = f"equity {wallet.equity:.2f} USD, free {number(free)}"
        return f"free margin above {needed:.2f} USD", found, free is not None and free > needed

    @contextmanager
    def _listening(self) -> Iterator[str]:
        """The account's stream, while the order lives; what is wrong with it, or nothing."""
        try:
            stream = self._settings.venue.adapter.open_account_stream(self._settings, self._heard.put)
        except TradingAssetsError as error:
            yield str(error)
            return
        stream.start()
        try:
            yield self._until_up()
        finally:
            stream.stop()

    def _until_up(self) -> str:
        deadline, reason = time.monotonic() + WITHIN_S, "no answer"
        while time.monotonic() < deadline:
            try:
                event = self._heard.get(timeout=1.0)
            except queue.Empty:
                continue
            if isinstance(event, Up):
                return ""
            if isinstance(event, Down):
                reason = event.reason
        return reason

    # The order

    def _leverage(self) -> _Found:
        wanted = min(self._settings.leverage, self._contract.max_leverage)
        self._before = self._exchange.leverage(self._symbol)
        take_note(self._settings, self._symbol, self._run, self._before, order=False)
        self._exchange.set_leverage(self._symbol, wanted)
        self._exchange.set_leverage(self._symbol, wanted)
        return "set, and once more without an error", f"{wanted:f}, {number(self._before)} before", True

    def _open(self) -> _Found:
        self._ticker = ticker = self._exchange.ticker(self._symbol)
        stop, target = self._levels(ticker, FIRST_AWAY)
        request = OrderRequest(
            symbol=self._symbol,
            side=Side.BUY,
            qty=self._qty,
            order_link_id=link(self._run, "open"),
            stop_loss=stop,
            take_profit=target,
        )
        self._request = request
        take_note(self._settings, self._symbol, self._run, self._before, order=True)
        self._exchange.place_order(request)
        order = self._until_final("open")
        price = order.average_price if order is not None else None
        if order is None or price is None or order.status is not OrderStatus.FILLED:
            return "filled", order.status.value if order is not None else "unknown", False
        slip = bps(price, ticker.ask)
        return (
            f"{self._qty:f} filled within {SLIPPAGE_BPS} bps of the ask {ticker.ask:f}",
            f"{order.filled_qty:f} at {price:f}, {slip:+.1f} bps",
            order.filled_qty == self._qty and slip <= SLIPPAGE_BPS,
        )

    def _told(self) -> _Found:
        kinds: set[str] = set()
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline and not {"order", "execution", "position"} <= kinds:
            try:
                event = self._heard.get(timeout=0.5)
            except queue.Empty:
                continue
            if isinstance(event, AccountChanged) and self._symbol in event.symbols:
                kinds |= event.kinds
        wanted = "order, execution, position"
        return wanted, ", ".join(sorted(kinds)) or "nothing", {"order", "execution", "position"} <= kinds

    def _stops_are(self, away: Decimal) -> _Found:
        stop, target = self._levels(self._ticker, away)
        position = self._until_position(
            lambda one: one is not None and (one.stop_loss, one.take_profit) == (stop, target)
        )
        expected = f"{self._qty:f}, stop {stop:f}, target {target:f}"
        if position is None:
            return expected, "no position", False
        found = f"{position.size:f}, stop {number(position.stop_loss)}, target {number(position.take_profit)}"
        return expected, found, (position.size, position.stop_loss, position.take_profit) == (self._qty, stop, target)

    def _again(self) -> _Found:
        expected = "refused, and the position is as large as before"
        try:
            self._exchange.place_order(self._request)
            answer = "taken"
        except ExchangeError as error:
            answer = f"refused ({error.code})"
        position = self._exchange.position(self._symbol)
        size = position.size if position is not None else Decimal(0)
        return expected, f"{answer}, {size:f}", answer != "taken" and size == self._qty

    def _change(self) -> _Found:
        self._exchange.set_stops(self._symbol, *self._levels(self._ticker, SECOND_AWAY))
        return self._stops_are(SECOND_AWAY)

    def _wrong_side(self) -> _Found:
        expected = "refused for its price"
        last = self._exchange.ticker(self._symbol).last
        above = self._on_tick(last * (1 + FIRST_AWAY), ROUND_CEILING)
        target = self._on_tick(last * (1 + SECOND_AWAY), ROUND_CEILING)
        try:
            self._exchange.set_stops(self._symbol, above, target)
        except PriceRefusedError as error:
            return expected, f"refused for its price ({error.code})", True
        except ExchangeError as error:
            return expected, f"{type(error).__name__}: {error}", False
        return expected, "taken", False

    def _rest(self) -> _Found:
        name = link(self._run, "rest")
        price = self._on_tick(self._exchange.ticker(self._symbol).last * (1 - RESTING_AWAY), ROUND_CEILING)
        self._exchange.place_order(
            OrderRequest(
                symbol=self._symbol,
                side=Side.BUY,
                qty=self._qty,
                order_link_id=name,
                price=price,
                post_only=True,
            )
        )
        rests = self._until(lambda: any(one.order_link_id == name for one in self._exchange.open_orders(self._symbol)))
        self._exchange.cancel_order(self._symbol, name)
        gone = self._until(lambda: all(one.order_link_id != name for one in self._exchange.open_orders(self._symbol)))
        found = f"{'waits' if rests else 'is not among the open orders'}, {'cancelled' if gone else 'still there'}"
        return f"waits at {price:f}, then cancelled", found, rests and gone

    def _close(self) -> _Found:
        request = OrderRequest(
            symbol=self._symbol,
            side=Side.SELL,
            qty=self._qty,
            order_link_id=link(self._run, "close"),
            reduce_only=True,
        )
        self._exchange.place_order(request)
        self._until_final("close")
        flat = self._until_position(lambda one: one is None) is None
        none = self._until(lambda: not self._exchange.open_orders(self._symbol))
        found = f"{'flat' if flat else 'a position'}, {'no order' if none else 'orders wait'}"
        return "flat, no order: the stops went with the position", found, flat and none

    # Afterwards

    def _history(self) -> _Found:
        """One row that adds up: exit less entry, less both fees."""
        fills = self._fills()
        ids = {one.order_id for one in fills}
        rows: list[ClosedPnl] = []

        def is_told() -> bool:
            rows[:] = [one for one in self._exchange.closed_pnl(self._began_ms, self._now()) if one.order_id in ids]
            return bool(rows)

        self._until(is_told)
        bought = sum((one.value for one in fills if one.side is Side.BUY), Decimal(0))
        sold = sum((one.value for one in fills if one.side is Side.SELL), Decimal(0))
        fees = sum((one.fee for one in fills), Decimal(0))
        expected = sold - bought - fees
        told = sum((one.pnl for one in rows), Decimal(0))
        paid = {one.fee_rate for one in fills}
        text = f"{told:+.4f}, {len(fills)} fills, fee {'/'.join(f'{rate * 100:f}' for rate in sorted(paid))} %"
        as_set = paid == {Decimal(str(self._settings.taker_fee))}
        return (
            f"PnL {expected:+.4f} of 2 fills or more, fee as set",
            text,
            bool(rows) and abs(told - expected) < CENT and as_set,
        )

    def _money(self) -> _Found:
        """What the wallet has lost is what the log of transactions says."""
        coin = self._settings.symbols.settle_coin
        changes = [one.change for one in self._exchange.transactions(self._began_ms, self._now()) if one.coin == coin]
        now = self._exchange.wallet().balances.get(coin, Decimal(0))
        expected = sum(changes, Decimal(0))
        return (
            f"{expected:+.4f} {coin}, by the log",
            f"{now - self._balance:+.4f}",
            abs(now - self._balance - expected) < CENT,
        )

    def _fills(self) -> list[Execution]:
        orders = {
            order.order_id
            for kind in ("open", "close")
            if (order := self._exchange.find_order(self._symbol, link(self._run, kind))) is not None
        }
        found: list[Execution] = []

        def are_told() -> bool:
            found[:] = [one for one in self._exchange.executions(self._began_ms, self._now()) if one.order_id in orders]
            return {one.side for one in found} == {Side.BUY, Side.SELL}

        self._until(are_told)
        return found

    def _now(self) -> int:
        return self._exchange.now_ms() + 1000

    def _levels(self, ticker: Ticker, away: Decimal) -> tuple[Decimal, Decimal]:
        return self._on_tick(ticker.last * (1 - away), ROUND_FLOOR), self._on_tick(
            ticker.last * (1 + away), ROUND_CEILING
        )

    def _on_tick(self, price: Decimal, rounding: str) -> Decimal:
        return (price / self._contract.tick_size).to_integral_value(rounding) * self._contract.tick_size

    def _until(self, true: Callable[[], bool], within_s: float = WITHIN_S) -> bool:
        deadline = time.monotonic() + within_s
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def _until_final(self, kind: str) -> Order | None:
        found: list[Order | None] = [None]

        def is_final() -> bool:
            found[0] = self._exchange.find_order(self._symbol, link(self._run, kind))
            return found[0] is not None and found[0].status.is_final

        self._until(is_final)
        return found[0]

    def _until_position(self, fits: Callable[[Position | None], bool]) -> Position | None:
        found: list[Position | None] = [None]

        def is_so() -> bool:
            found[0] = self._exchange.position(self._symbol)
            return fits(found[0])

        self._until(is_so, 10.0)
        return found[0]
