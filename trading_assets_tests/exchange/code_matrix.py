"""What every code of the table, an unknown one and every HTTP status makes of every call: the page's table, measured.

`python -m trading_assets_tests.exchange.code_matrix` writes the table into the page again.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import OrderChange, OrderRequest, Side
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.exchange import SETTLE_COINS
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.error_mapping import CODES, PARAMETERS
from trading_assets.exchange.transport import Transport
from trading_assets_tests.exchange import stub as stubs
from trading_assets_tests.exchange.stub import Reply, Stub, envelope
from trading_assets_tests.exchange.venue_rows import T0

PAGE = Path(__file__).parents[2] / "docs" / "exchange_codes.md"
_MARKED = re.compile(r"(<!-- codes: begin[^>]*-->\n).*?(<!-- codes: end -->)", re.S)

Call = Callable[[BybitExchange], object]
SPAN = (T0, T0 + HOUR_MS)

ORDER = OrderRequest("BTCUSDT", Side.BUY, Decimal(1), "link-1", price=Decimal(100))
CHANGE = OrderChange("BTCUSDT", "link-1", price=Decimal(101))


def _only(outcomes: Sequence[object]) -> None:
    """Raise the error of the only order of a batch."""
    if isinstance(outcomes[0], Exception):
        raise outcomes[0]


PLACE: Mapping[str, Call] = {
    "place_order": lambda one: one.place_order(ORDER),
    "place_orders": lambda one: _only(one.place_orders([ORDER])),
}
AMEND: Mapping[str, Call] = {
    "amend_order": lambda one: one.amend_order(CHANGE),
    "amend_orders": lambda one: _only(one.amend_orders([CHANGE])),
}
SET: Mapping[str, Call] = {
    "set_leverage": lambda one: one.set_leverage("BTCUSDT", Decimal(10)),
    "set_stops": lambda one: one.set_stops("BTCUSDT", Decimal(90), None),
    "set_one_way": lambda one: one.set_one_way(),
    "set_cross_margin": lambda one: one.set_cross_margin(),
}
CANCEL: Mapping[str, Call] = {
    "cancel_order": lambda one: one.cancel_order("BTCUSDT", "link-1"),
    "cancel_orders": lambda one: _only(one.cancel_orders([("BTCUSDT", "link-1")])),
}
READ: Mapping[str, Call] = {
    "instruments": lambda one: one.instruments(),
    "tickers": lambda one: one.tickers(),
    "ticker": lambda one: one.ticker("BTCUSDT"),
    "candles": lambda one: one.candles("BTCUSDT", Timeframe.M60, *SPAN),
    "funding": lambda one: one.funding("BTCUSDT", *SPAN),
    "order_book": lambda one: one.order_book("BTCUSDT"),
    "wallet": lambda one: one.wallet(),
    "positions": lambda one: one.positions(),
    "position": lambda one: one.position("BTCUSDT"),
    "open_orders": lambda one: one.open_orders(),
    "find_order": lambda one: one.find_order("BTCUSDT", "link-1"),
    "order": lambda one: one.order("BTCUSDT", "o1"),
    "executions": lambda one: one.executions(*SPAN),
    "closed_pnl": lambda one: one.closed_pnl(*SPAN),
    "transactions": lambda one: one.transactions(*SPAN),
    "account_shape": lambda one: one.account_shape("BTCUSDT"),
    "fee_rates": lambda one: one.fee_rates(),
    "api_key": lambda one: one.api_key(),
}
GROUPS = {
    "place an order": PLACE,
    "change an order": AMEND,
    "set leverage, stops, modes": SET,
    "cancel": CANCEL,
    "read": READ,
}

EXCEPTIONS = {
    ("110001", "find_order"): "done, 2",
    ("110001", "order"): "done, 2",
    ("10032", "api_key"): "done, 1",
}
"""What a read makes of a code otherwise than the others: no such order, and a question that demo trading has not."""

UNKNOWN = 987_654
_TEXTS = (
    "params error: something",
    "position idx not match position mode",
    "StopLoss:1010000 set for Buy position should lower than base_price:1000000??LastPrice",
    "sl:257970000 set for Sell position should greater base_price:259477000??LastPrice",
    "TakeProfit:990000 set for Buy position should be higher than base_price:1000000??LastPrice",
    "The number of contracts exceeds minimum limit allowed",
    "Qty invalid",
    "leverage invalid",
    "params error: symbol invalid",
    "order not modified",
    "can not set tp/sl/ts for zero position",
    "sell: [955174000,955350000] invalid",
)
"""Texts of code 10001, as they were seen."""


def answers() -> dict[str, Reply]:
    """Every refusal, by its name in the table."""
    found = {str(code): envelope(code=code, message="") for code in sorted(CODES) if code != PARAMETERS}
    found |= {f"10001 {text}": envelope(code=PARAMETERS, message=text) for text in _TEXTS}
    found["any other code"] = envelope(code=UNKNOWN, message="no such code is known")
    found |= {f"HTTP {status}": Reply(b"", status) for status in (301, 307, 400, 401, 404, 408, 429)}
    found |= {f"HTTP {status}": Reply(b"{}", status) for status in (500, 502, 503, 504)}
    found["HTTP 403, closed country"] = stubs.COUNTRY
    found["HTTP 403, too frequent"] = stubs.BANNED
    return found


OF_EVERY_COIN = frozenset({"positions", "open_orders"})
"""Lists that are asked for each settle coin, side by side: the table counts the requests of one."""


def outcome(stub: Stub, reply: Reply, call: Call, *, lists: int = 1) -> str:
    """The error that the call raises or "done", and how often it was sent.

    Args:
        lists: so many are asked for, in the same way.
    """
    stub.requests.clear()
    stub.answer(reply)
    connection = Connection(url=stub.url, keys=stubs.KEYS, timeout_s=60, limits_dir=Path(tempfile.gettempdir()))
    transport = Transport(connection, limited=False, sleep=lambda _s: None, jitter=random.Random(1))
    exchange = BybitExchange(transport, virtual_clock=True)
    try:
        call(exchange)
        what = "done"
    except TradingAssetsError as error:
        what = type(error).__name__
    finally:
        exchange.close()
    sent, rest = divmod(len(stub.requests), lists)
    if reply.status == HTTPStatus.FORBIDDEN:  # of lists side by side, the ban that one meets may spare the other
        sent, rest = sent + bool(rest), 0
    assert rest == 0, f"{len(stub.requests)} requests for {lists} lists"
    return f"{what}, {sent}"


def measured(stub: Stub, replies: Mapping[str, Reply]) -> dict[tuple[str, str], str]:
    """The outcome of each answer at each call, by their names."""
    calls = {name: call for group in GROUPS.values() for name, call in group.items()}
    return {
        (answer, name): outcome(stub, reply, call, lists=len(SETTLE_COINS) if name in OF_EVERY_COIN else 1)
        for answer, reply in replies.items()
        for name, call in calls.items()
    }


def table(cells: Mapping[tuple[str, str], str]) -> str:
    """Markdown: answers with the same outcomes share a row.

    Raises:
        AssertionError: calls of one column differ, and not as `EXCEPTIONS` says.
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    for answer in dict.fromkeys(answer for answer, _ in cells):
        columns = []
        for title, group in GROUPS.items():
            usual = {cells[answer, name] for name in group if (answer, name) not in EXCEPTIONS}
            assert len(usual) == 1, f"{answer}, {title}: {sorted(usual)}"
            columns += usual
        for (code, name), expected in EXCEPTIONS.items():
            assert code != answer or cells[code, name] == expected, f"{code}, {name}: {cells[code, name]}"
        rows.setdefault(tuple(columns), []).append(answer)
    lines = [f"| answer | {' | '.join(GROUPS)} |", "|" + "---|" * (len(GROUPS) + 1)]
    lines += [f"| {'; '.join(names)} | {' | '.join(columns)} |" for columns, names in rows.items()]
    return "\n".join(lines) + "\n"


def told(page: str) -> str:
    """The page's table."""
    found = _MARKED.search(page)
    assert found is not None, f"{PAGE} has no place for the table of codes"
    return page[found.end(1) : found.start(2)]


def main() -> None:
    """Write the table into the page."""
    with stubs.serving() as stub:
        made = table(measured(stub, answers()))
    text = _MARKED.sub(lambda found: found.group(1) + made + found.group(2), PAGE.read_text())
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
