"""The toy exchange's connector: its words, codes and ids into the project's, and back. See `core.ports.Exchange`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from trading_assets.venues.toy.server import Row, ToyServer

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeUnavailableError,
    OrderEndedError,
    OrderRejectedError,
)
from trading_assets.core.models import (
    AccountShape,
    ApiKeyInfo,
    ClosedPnl,
    ContractKind,
    ContractStatus,
    Execution,
    FillKind,
    Instrument,
    MarginMode,
    Order,
    OrderAck,
    OrderBook,
    OrderChange,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    Position,
    PositionMode,
    Rows,
    SendBy,
    Side,
    Ticker,
    Tickers,
    Transaction,
    Wallet,
)
from trading_assets.core.ports import ENTRY
from trading_assets.core.timeframes import Timeframe

TICK, STEP = Decimal("0.5"), Decimal("0.01")
_KINDS = {"swap": ContractKind.PERPETUAL, "fut": ContractKind.DATED}
_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "long": Side.BUY, "short": Side.SELL}
_STATES = {"live": OrderStatus.NEW, "done": OrderStatus.FILLED, "gone": OrderStatus.CANCELLED}
_FILLS = {"user": FillKind.TRADE, "sl": FillKind.TRADE, "tp": FillKind.TRADE, "liq": FillKind.LIQUIDATION}
_FILLS["adl"] = FillKind.ADL
_PURPOSES = {"sl": OrderPurpose.STOP, "tp": OrderPurpose.TARGET}
_REFUSED = {"BAD_ID", "BAD_STEP", "NO_POSITION"}


class ToyOrderIds:
    """At most 32 letters and digits: no dash and no underscore, which other venues take."""

    def encode(self, signal_id: str, kind: str = ENTRY) -> str:
        return f"ta{kind}{hashlib.blake2b(signal_id.encode(), digest_size=13).hexdigest()}"

    def is_ours(self, order_link_id: str) -> bool:
        return order_link_id.startswith("ta")

    def is_of(self, order_link_id: str, kind: str) -> bool:
        return order_link_id.startswith(f"ta{kind}")

    def is_entry(self, order_link_id: str) -> bool:
        return self.is_of(order_link_id, ENTRY)


class ToyExchange:
    """Data and the account."""

    order_ids = ToyOrderIds()

    def __init__(self, server: ToyServer) -> None:
        self._server = server

    def repeat_reads(self, older_than: float) -> None:
        """Its questions have a short timeout, and are asked anew by their callers."""

    def can_connect(self, within_s: float) -> bool:
        return False

    def now_ms(self) -> int:
        return int(self._read("time")["t"])

    def instruments(self) -> Rows[Instrument]:
        return Rows(
            Instrument(
                symbol=row["inst"],
                base_coin=row["base"],
                quote_coin=row["settle"],
                settle_coin=row["settle"],
                kind=_KINDS.get(row["sort"], ContractKind.OTHER),
                status=ContractStatus.TRADING if row["state"] == "live" else ContractStatus.OTHER,
                is_coin=True,
                listed_ms=0,
                tick_size=TICK,
                qty_step=STEP,
                min_qty=STEP,
                max_market_qty=Decimal(1000),
                min_notional=Decimal(1),
                max_leverage=Decimal(20),
                leverage_step=Decimal(1),
                funding_interval_min=480,
            )
            for row in self._read("contracts")
        )

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Waves of three percent around the price of now."""
        last = min(end_ms, self.now_ms() - timeframe.ms + 1)
        starts = np.arange(-(-start_ms // timeframe.ms) * timeframe.ms, last, timeframe.ms, dtype=np.int64)
        close = float(self.ticker(symbol).last) * (1 + 0.03 * np.sin(starts / timeframe.ms))
        volume = np.full(len(starts), 1e6)
        return Candles(timeframe, starts, close, close * 1.001, close * 0.999, close, volume, volume)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return Funding.empty()

    def market(self) -> str:
        return "Toy"

    def finest_timeframe(self) -> Timeframe:
        return Timeframe.M1

    def tickers(self) -> Tickers:
        return Tickers(Rows(_ticker(row) for row in self._read("quotes")))

    def ticker(self, symbol: str) -> Ticker:
        return self.tickers()[symbol]

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook:
        ticker = self.ticker(symbol)
        return OrderBook(symbol, ((ticker.bid, Decimal(9)),), ((ticker.ask, Decimal(9)),), self.now_ms())

    def clock_offset_ms(self) -> int:
        return 0

    def api_key(self) -> ApiKeyInfo | None:
        row = self._read("key")
        faults = () if "trade" in row["rights"] else ("it has not the right `trade`: give it that at Toy",)
        return ApiKeyInfo("trade" not in row["rights"], "send" in row["rights"], (row["ip"],), None, faults)

    def account_shape(self, symbol: str) -> AccountShape:
        """Toy knows one way to hold a position, and one account for all of them."""
        return AccountShape(None, unified=True, margin_mode=MarginMode.CROSS, position_mode=PositionMode.ONE_WAY)

    def set_one_way(self) -> None:
        """It is so always."""

    def set_cross_margin(self) -> None:
        """It is so always."""

    def wallet(self) -> Wallet:
        row = self._read("account")
        cash, margin = Decimal(row["cash"]), Decimal(row["margin"])
        return Wallet(cash, cash, cash - margin, margin, margin / 10, Decimal(0))

    def positions(self) -> Rows[Position]:
        return Rows(self._position(row) for row in self._read("positions"))

    def position(self, symbol: str) -> Position | None:
        return next((held for held in self.positions() if held.symbol == symbol), None)

    def leverage(self, symbol: str) -> Decimal | None:
        """Toy does not tell its gear."""

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        self._write("gear", inst=symbol, x=f"{leverage:f}")

    def place_order(self, request: OrderRequest) -> OrderAck:
        if request.trigger_price is not None or request.price is not None:
            raise OrderRejectedError("Toy has market orders only")
        if request.send_by is not None:  # Toy signs nothing: what is late can be noticed here at the latest
            request.send_by.require()
        answer = self._write(
            "order/new",
            inst=request.symbol,
            side="buy" if request.side is Side.BUY else "sell",
            lots=f"{request.qty:f}",
            cl=request.order_link_id,
            sl=_price(request.stop_loss),
            tp=_price(request.take_profit),
            shrink="yes" if request.reduce_only else "no",
        )
        return OrderAck(answer["no"], request.order_link_id)

    def find_order(self, symbol: str, order_link_id: str) -> Order | None:
        return self._find("cl", order_link_id)

    def order(self, symbol: str, order_id: str) -> Order | None:
        return self._find("no", order_id)

    def open_orders(self, symbol: str | None = None) -> Rows[Order]:
        return Rows(_order(row) for row in self._read("orders") if row["state"] == "live")

    def cancel_order(self, symbol: str, order_link_id: str) -> None:
        """No order waits at Toy."""

    def cancel_orders(self, orders: Sequence[tuple[str, str]]) -> list[ExchangeError | None]:
        """No order waits at Toy."""
        return [None] * len(orders)

    def amend_order(self, change: OrderChange) -> None:
        """No order waits at Toy."""
        raise OrderEndedError(f"Toy has no order {change.order_link_id} that waits")

    def amend_orders(self, changes: Sequence[OrderChange]) -> list[ExchangeError | None]:
        """No order waits at Toy."""
        return [OrderEndedError(f"Toy has no order {change.order_link_id} that waits") for change in changes]

    def orders_at_once(self) -> int:
        """Toy takes one order a request."""
        return 1

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        """One after the other."""
        found = list[OrderAck | ExchangeError]()
        for request in requests:
            try:
                found.append(self.place_order(request))
            except ExchangeError as error:
                found.append(error)
        return found

    def set_stops(
        self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None, send_by: SendBy | None = None
    ) -> None:
        if send_by is not None:
            send_by.require()
        self._write("stops", inst=symbol, sl=_price(stop_loss), tp=_price(take_profit))

    def executions(self, start_ms: int, end_ms: int) -> Rows[Execution]:
        return Rows(_execution(row) for row in self._read("deals") if start_ms <= row["t"] < end_ms)

    def closed_pnl(self, start_ms: int, end_ms: int) -> Rows[ClosedPnl]:
        return Rows(_closed(row) for row in self._read("rounds") if start_ms <= row["t"] < end_ms)

    def transactions(self, start_ms: int, end_ms: int) -> Rows[Transaction]:
        """Toy keeps no log of the balance."""
        return Rows()

    def close(self) -> None:
        """Nothing is held."""

    def _position(self, row: Row) -> Position:
        return Position(
            symbol=row["inst"],
            side=_SIDES[row["dir"]],
            size=Decimal(row["lots"]),
            entry_price=Decimal(row["px"]),
            mark_price=self.ticker(row["inst"]).mark,
            leverage=Decimal(10),
            unrealised_pnl=Decimal(0),
            realised_pnl=Decimal(0),
            liquidation_price=None,
            stop_loss=Decimal(row["sl"]) if row["sl"] else None,
            take_profit=Decimal(row["tp"]) if row["tp"] else None,
            position_idx=0,
            opened_ms=row["t"],
            updated_ms=row["t"],
        )

    def _find(self, key: str, value: str) -> Order | None:
        return next((_order(row) for row in self._read("orders") if row[key] == value), None)

    def _read(self, path: str) -> Any:
        answer = self._server.call(path)
        if "ok" not in answer:
            raise ExchangeUnavailableError(f"{path}: {answer.get('err')}")
        return answer["ok"]

    def _write(self, path: str, **given: str) -> Any:
        """Sent once. A code that is not known may mean anything, so the order is looked up."""
        answer = self._server.call(path, **given)
        if "ok" in answer:
            return answer["ok"]
        if answer["err"] in _REFUSED:
            raise OrderRejectedError(f"{path}: {answer['err']}")
        raise AmbiguousOutcomeError(f"{path}: {answer['err']}")


def _price(price: Decimal | None) -> str:
    return "" if price is None else f"{price:f}"


def _ticker(row: Row) -> Ticker:
    price = Decimal(row["px"])
    return Ticker(
        symbol=row["inst"],
        last=price,
        mark=price,
        bid=price * Decimal("0.9999"),
        ask=price * Decimal("1.0001"),
        turnover_24h=Decimal(9_000_000),
        volume_24h=Decimal(9_000),
        change_24h_pct=Decimal(1),
        funding_rate=None,
        next_funding_ms=0,
    )


def _order(row: Row) -> Order:
    return Order(
        symbol=row["inst"],
        order_id=row["no"],
        order_link_id=row["cl"],
        side=_SIDES[row["side"]],
        status=_STATES[row["state"]],
        purpose=_PURPOSES.get(row["why"], OrderPurpose.ORDINARY),
        qty=Decimal(row["lots"]),
        filled_qty=Decimal(row["lots"]) if row["state"] == "done" else Decimal(0),
        average_price=Decimal(row["px"]),
        fee=Decimal(0),
        reduce_only=False,
        stop_loss=None,
        take_profit=None,
        trigger_price=None,
        reject_reason=None,
        venue_reason="",
        created_ms=row["t"],
        updated_ms=row["t"],
    )


def _execution(row: Row) -> Execution:
    return Execution(
        exec_id=row["deal"],
        symbol=row["inst"],
        order_id=row["no"],
        order_link_id=row["cl"],
        side=_SIDES[row["side"]],
        kind=_FILLS.get(row["why"], FillKind.OTHER),
        exec_type=row["why"],
        price=Decimal(row["px"]),
        qty=Decimal(row["lots"]),
        value=Decimal(row["px"]) * Decimal(row["lots"]),
        fee=Decimal(row["fee"]),
        fee_rate=Decimal("0.0004"),
        is_maker=False,
        closed_size=Decimal(0),
        purpose=_PURPOSES.get(row["why"], OrderPurpose.ORDINARY),
        time_ms=row["t"],
    )


def _closed(row: Row) -> ClosedPnl:
    return ClosedPnl(
        symbol=row["inst"],
        order_id=row["no"],
        side=_SIDES[row["side"]],
        qty=Decimal(row["lots"]),
        entry_price=Decimal(row["in"]),
        exit_price=Decimal(row["px"]),
        pnl=Decimal(row["pnl"]),
        open_fee=Decimal(row["fee"]),
        close_fee=Decimal(row["fee"]),
        kind=_FILLS.get(row["why"], FillKind.OTHER),
        created_ms=row["t"],
        updated_ms=row["t"],
    )
