"""Which of Bybit's request limits a call falls under, before an answer has told. Counting is in `allowance`.

Bybit counts in rolling windows: all requests of an address, and those of an account at an endpoint. The endpoint's
limit comes back with each answer (`X-Bapi-Limit`); the table here serves until then.
"""

from __future__ import annotations

from dataclasses import dataclass

ADDRESS = "address"
MARKET_DATA = "market data"
HISTORY = "history"

_ADDRESS_LIMIT, _ADDRESS_WINDOW_MS = 600, 5000
_MARKET_DATA_LIMIT = 540
"""Of the address's requests: however much market data is fetched, a tenth is left to the account."""
_HISTORY_LIMIT = 480
"""Of these: however long a backfill, another tenth is left to prices and books, which an order waits for."""

_ACCOUNT_WINDOW_MS = 1000
_SLOWEST = 5
_ACCOUNT_LIMITS = {
    **dict.fromkeys(("place_order", "amend_order", "cancel_order", "cancel_all_orders"), 10),
    **dict.fromkeys(("set_leverage", "set_trading_stop", "switch_position_mode", "get_api_key_information"), 10),
    **dict.fromkeys(("get_open_orders", "get_order_history", "get_executions"), 50),
    **dict.fromkeys(("get_positions", "get_closed_pnl", "get_wallet_balance", "get_account_info"), 50),
    "get_transaction_log": 25,
}
"""Requests of an account in a second, by pybit's method (Bybit's documentation, page rate-limit)."""

_PUBLIC = frozenset(
    {
        *("get_server_time", "get_kline", "get_instruments_info", "get_tickers", "get_orderbook"),
        *("get_funding_rate_history", "get_public_trade_history", "get_risk_limit"),
    }
)

_OF_THE_PAST = frozenset({"get_kline", "get_funding_rate_history", "get_public_trade_history"})


@dataclass(frozen=True)
class Limit:
    """At most `requests` in any `window_ms`, counted under `name`."""

    name: str
    requests: int
    window_ms: int


_OF_ADDRESS = Limit(ADDRESS, _ADDRESS_LIMIT, _ADDRESS_WINDOW_MS)
_OF_MARKET_DATA = Limit(MARKET_DATA, _MARKET_DATA_LIMIT, _ADDRESS_WINDOW_MS)
_OF_HISTORY = Limit(HISTORY, _HISTORY_LIMIT, _ADDRESS_WINDOW_MS)


def limits_of(method: str, account: str) -> tuple[Limit, ...]:
    """The limits that a call of pybit's `method` counts in; the narrowest last.

    Args:
        account: tells accounts apart, never the key itself.
    """
    if method in _OF_THE_PAST:
        return _OF_ADDRESS, _OF_MARKET_DATA, _OF_HISTORY
    if method in _PUBLIC:
        return _OF_ADDRESS, _OF_MARKET_DATA
    return _OF_ADDRESS, Limit(f"{account} {method}", _ACCOUNT_LIMITS.get(method, _SLOWEST), _ACCOUNT_WINDOW_MS)
