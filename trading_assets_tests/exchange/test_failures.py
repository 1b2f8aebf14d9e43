"""The connector on an exchange that fails: which error, how many calls, and nothing secret in any message."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets.core.errors import (
    AccountShapeError,
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    InsufficientBalanceError,
    NothingToCloseError,
    NotSentError,
    OrderRejectedError,
    RateLimitedError,
    RulesChangedError,
    SymbolUnavailableError,
    UnreadableAnswerError,
)
from trading_assets.core.models import OrderRequest, Side
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.error_mapping import ErrorKind, kind_of_code
from trading_assets.exchange.transport import READ_ATTEMPTS
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import (
    BANNED,
    COUNTRY,
    DROPPED,
    HTML_200,
    HTML_502,
    JSON_LIST,
    JSON_NULL,
    JSON_OTHER,
    KEY,
    KEYS,
    SECRET,
    TIMEOUT,
    TRUNCATED,
    Reply,
    Stub,
    envelope,
)
from trading_assets_tests.polling import until

ORDER = OrderRequest("BTCUSDT", Side.BUY, Decimal("0.01"), "link-1")
TICKERS = envelope({"category": "linear", "list": []})

SILENT = {"timeout_s": 0.3}
"""Of a connector that waits in vain."""

BROKEN = {
    "timeout": TIMEOUT,
    "dropped after processing": DROPPED,
    "HTML 502": HTML_502,
    "HTML 200": HTML_200,
    "truncated body": TRUNCATED,
    "JSON list": JSON_LIST,
    "JSON null": JSON_NULL,
    "JSON without retCode": JSON_OTHER,
    "HTTP 500": Reply(b"{}", 500),
    "HTTP 504": Reply(b"gateway timeout", 504, "text/plain"),
    "code 10000": envelope(code=10000, message="Server Timeout"),
    "code 10014": envelope(code=10014, message="Invalid duplicate request"),
    "code 10016": envelope(code=10016, message="Server error"),
    "code 10019": envelope(code=10019, message="ws trade service is restarting"),
    "code 10429": envelope(code=10429, message="System level frequency protection"),
    "code 30001": envelope(code=30001, message="order_link_id is repeated"),
    "HTTP 429": Reply(b"", 429),
    "code 500000": envelope(code=500000, message="inner error"),
    "code 110072": envelope(code=110072, message="OrderLinkedID is duplicate"),
}

REFUSED = {
    10001: OrderRejectedError,
    10002: ClockSkewError,
    10003: ExchangeFatalError,
    10004: ExchangeFatalError,
    10005: ExchangeFatalError,
    10006: RateLimitedError,
    10007: ExchangeFatalError,
    10008: ExchangeFatalError,
    10009: ExchangeFatalError,
    10010: ExchangeFatalError,
    10017: ExchangeFatalError,
    10024: ExchangeFatalError,
    10027: ExchangeFatalError,
    10028: ExchangeFatalError,
    10029: SymbolUnavailableError,
    10032: SymbolUnavailableError,
    30031: InsufficientBalanceError,
    30228: SymbolUnavailableError,
    33004: ExchangeFatalError,
    100028: ExchangeFatalError,
    110001: OrderRejectedError,
    110003: OrderRejectedError,
    110004: InsufficientBalanceError,
    110006: InsufficientBalanceError,
    110007: InsufficientBalanceError,
    110012: InsufficientBalanceError,
    110013: RulesChangedError,
    110014: InsufficientBalanceError,
    110017: NothingToCloseError,
    110022: SymbolUnavailableError,
    110023: SymbolUnavailableError,
    110042: SymbolUnavailableError,
    110044: InsufficientBalanceError,
    110045: InsufficientBalanceError,
    110051: InsufficientBalanceError,
    110053: InsufficientBalanceError,
    110063: SymbolUnavailableError,
    110066: SymbolUnavailableError,
    110074: SymbolUnavailableError,
    110079: AmbiguousOutcomeError,
    110090: OrderRejectedError,
    110094: RulesChangedError,
    110123: SymbolUnavailableError,
    110125: SymbolUnavailableError,
    -2015: ExchangeFatalError,
    987654: AmbiguousOutcomeError,
}
RETRIED_READS = {10002: ClockSkewError, 10006: ExchangeUnavailableError}
RETRIED_READS |= {110079: ExchangeUnavailableError, 987654: ExchangeUnavailableError}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def everything_told(error: BaseException) -> str:
    """The message and all that a traceback would print."""
    return f"{error!r} {''.join(traceback.format_exception(error))}"


def raised_by(call: Callable[[], object]) -> ExchangeError:
    with pytest.raises(ExchangeError) as raised:
        call()
    told = everything_told(raised.value)
    assert KEY not in told
    assert SECRET not in told
    return raised.value


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_read_without_a_usable_answer_is_tried_again_then_given_up(
    stub: Stub, connect: Connect, slept: list[float], name: str
) -> None:
    stub.answer(BROKEN[name])
    error = raised_by(connect(**SILENT if name == "timeout" else {}).tickers)
    assert type(error) is ExchangeUnavailableError
    until(lambda: len(stub.requests) == READ_ATTEMPTS)
    assert len(slept) == READ_ATTEMPTS - 1
    assert slept == sorted(slept), "each wait is at least as long as the one before"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_read_goes_on_as_soon_as_there_is_an_answer(stub: Stub, connect: Connect, name: str) -> None:
    stub.answer(BROKEN[name], TICKERS)
    # The second request must not time out as well.
    assert connect(**{"timeout_s": 3.0} if name == "timeout" else {}).tickers() == {}
    assert len(stub.requests) == 2


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_an_order_without_a_usable_answer_is_ambiguous_and_sent_once(
    stub: Stub, connect: Connect, slept: list[float], name: str
) -> None:
    stub.answer(BROKEN[name], envelope({"orderId": "1", "orderLinkId": "link-1"}))
    error = raised_by(lambda: connect(**SILENT if name == "timeout" else {}).place_order(ORDER))
    assert type(error) is AmbiguousOutcomeError
    until(lambda: len(stub.requests) == 1)
    assert slept == []


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_an_order_that_the_venue_refuses_has_the_error_of_its_code_and_is_sent_once(
    stub: Stub, connect: Connect, code: int
) -> None:
    stub.answer(envelope(code=code, message="no"))
    error = raised_by(lambda: connect().place_order(ORDER))
    assert type(error) is REFUSED[code]
    assert error.code == code
    assert str(code) in str(error)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_a_read_that_the_venue_refuses_is_not_asked_again_unless_it_may_be(
    stub: Stub, connect: Connect, code: int
) -> None:
    stub.answer(envelope(code=code, message="no"))
    error = raised_by(connect().wallet)
    assert type(error) is RETRIED_READS.get(code, REFUSED[code])
    assert len(stub.requests) == (READ_ATTEMPTS if code in RETRIED_READS else 1)


@pytest.mark.parametrize("code", [110025, 110026, 110027, 110043, 34040])
def test_what_is_already_so_is_success(stub: Stub, connect: Connect, code: int) -> None:
    stub.answer(envelope(code=code, message="not modified"))
    exchange = connect()
    exchange.set_leverage("BTCUSDT", Decimal(10))
    exchange.set_stops("BTCUSDT", Decimal(90_000), None)
    assert len(stub.requests) == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda exchange: exchange.set_leverage("BTCUSDT", Decimal(10)),
        lambda exchange: exchange.set_stops("BTCUSDT", Decimal(90_000), None),
    ],
    ids=["leverage", "stops"],
)
def test_writes_of_a_state_are_repeated_like_reads(
    stub: Stub, connect: Connect, write: Callable[[BybitExchange], None]
) -> None:
    stub.answer(DROPPED, HTML_502, envelope())
    write(connect())
    assert len(stub.requests) == 3


def test_a_refused_connection_is_a_failed_read_and_an_order_not_sent(connect: Connect, slept: list[float]) -> None:
    exchange = connect(url=f"http://127.0.0.1:{free_port()}")
    assert type(raised_by(exchange.tickers)) is ExchangeUnavailableError
    assert len(slept) == READ_ATTEMPTS - 1
    assert type(raised_by(lambda: exchange.place_order(ORDER))) is NotSentError
    assert len(slept) == READ_ATTEMPTS - 1


def test_a_host_without_a_name_is_an_order_not_sent(connect: Connect) -> None:
    exchange = connect(url="http://nowhere.invalid")
    assert type(raised_by(lambda: exchange.place_order(ORDER))) is NotSentError


def test_after_a_refused_connection_a_read_asks_for_the_new_address(
    stub: Stub, connect: Connect, slept: list[float]
) -> None:
    stub.answer(TICKERS)
    asked = []

    def reconnect() -> str:
        asked.append(True)
        return stub.url

    exchange = connect(url=f"http://127.0.0.1:{free_port()}", reconnect=reconnect)
    assert exchange.tickers() == {}
    exchange.tickers()
    assert len(asked) == 1
    assert slept == []
    assert len(stub.requests) == 2


def test_an_order_never_reconnects(stub: Stub, connect: Connect) -> None:
    exchange = connect(url=f"http://127.0.0.1:{free_port()}", reconnect=lambda: pytest.fail("reconnected"))
    assert type(raised_by(lambda: exchange.place_order(ORDER))) is NotSentError
    assert stub.requests == []


def test_a_broken_connection_does_not_reconnect_elsewhere(stub: Stub, connect: Connect) -> None:
    stub.answer(DROPPED, TICKERS)
    assert connect(reconnect=lambda: pytest.fail("reconnected")).tickers() == {}


def test_a_ban_stops_everything_that_would_be_sent_after_it(stub: Stub, connect: Connect) -> None:
    stub.answer(BANNED)
    exchange = connect()
    error = raised_by(exchange.tickers)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s >= 600
    for call in (exchange.tickers, exchange.wallet, lambda: exchange.place_order(ORDER)):
        again = raised_by(call)
        assert isinstance(again, RateLimitedError)
        assert 0 < again.retry_after_s <= 600
    assert len(stub.requests) == 1


def test_an_order_that_meets_a_ban_certainly_was_not_placed(stub: Stub, connect: Connect) -> None:
    stub.answer(BANNED)
    assert isinstance(raised_by(lambda: connect().place_order(ORDER)), NotSentError)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (COUNTRY, ExchangeFatalError),
        (Reply(b"", 401), ExchangeFatalError),
        (Reply(b"", 404), ExchangeFatalError),
    ],
    ids=["country", "401", "404"],
)
def test_an_http_status_has_its_meaning_for_an_order(
    stub: Stub, connect: Connect, reply: Reply, expected: type[ExchangeError]
) -> None:
    stub.answer(reply)
    error = raised_by(lambda: connect().place_order(ORDER))
    assert type(error) is expected
    assert error.code == reply.status
    assert len(stub.requests) == 1


def test_a_rate_limit_waits_until_its_reset(stub: Stub, connect: Connect, slept: list[float]) -> None:
    reset = str(int((time.time() + 8) * 1000))
    stub.answer(
        envelope(code=10006, message="Too many visits", headers={"X-Bapi-Limit-Reset-Timestamp": reset}), TICKERS
    )
    assert connect().tickers() == {}
    assert 2 < slept[0] <= 9


def test_a_reset_in_the_past_is_no_error_and_hardly_a_wait(stub: Stub, connect: Connect, slept: list[float]) -> None:
    past = envelope(code=10006, message="Too many visits", headers={"X-Bapi-Limit-Reset-Timestamp": "1000"})
    stub.answer(past, TICKERS)
    assert connect().tickers() == {}
    assert 0 < slept[0] < 1


def test_the_key_in_bybits_own_message_does_not_reach_ours(stub: Stub, connect: Connect) -> None:
    """Bybit's text for a wrong signature repeats what was signed: the time, the key, the window, the query."""
    message = f"error sign! origin_string[1700000000000{KEY}5000category=linear]"
    stub.answer(envelope(code=10004, message=message))
    exchange = connect()
    for call in (exchange.wallet, lambda: exchange.place_order(ORDER)):
        assert type(raised_by(call)) is ExchangeFatalError


def test_the_connection_does_not_print_its_keys() -> None:
    from trading_assets.exchange.connection import Connection

    printed = repr(Connection(url="http://127.0.0.1:1", keys=KEYS))
    assert KEY not in printed
    assert SECRET not in printed


def test_a_venue_that_knows_no_such_number_names_it(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope({"list": [venue_rows.wallet(totalEquity="many")]}))
    with pytest.raises(ExchangeUnavailableError, match=r"totalEquity = 'many', expected a number"):
        connect().wallet()


@pytest.mark.parametrize("call", ["wallet", "position", "ticker"])
def test_a_list_that_must_not_be_empty_is_an_error_when_it_is(stub: Stub, connect: Connect, call: str) -> None:
    stub.answer(envelope({"list": []}))
    exchange = connect()
    read = {"wallet": exchange.wallet}.get(call, lambda: getattr(exchange, call)("BTCUSDT"))
    assert type(raised_by(read)) is UnreadableAnswerError


def test_hedge_mode_is_named_not_guessed_at(stub: Stub, connect: Connect) -> None:
    legs = [venue_rows.flat_position(positionIdx=1), venue_rows.position(positionIdx=2, side="Sell")]
    stub.answer(envelope({"list": legs}))
    with pytest.raises(AccountShapeError, match="hedge mode"):
        connect().position("BTCUSDT")


def test_every_code_of_the_reference_that_means_no_change_is_success() -> None:
    assert {code for code in range(0, 200_000) if kind_of_code(code) is ErrorKind.SUCCESS} == {
        *(34040, 110025, 110026, 110027, 110043)
    }
