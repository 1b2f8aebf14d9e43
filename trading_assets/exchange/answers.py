"""What comes back from a call: an error of the project, or a value. No I/O; `transport` decides what follows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3.exceptions

from trading_assets.core.errors import (
    AccountShapeError,
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeError,
    ExchangeFatalError,
    InsufficientBalanceError,
    NothingToCloseError,
    NotSentError,
    OrderRejectedError,
    PriceRefusedError,
    RateLimitedError,
    RulesChangedError,
    SymbolUnavailableError,
)
from trading_assets.core.foreign_text import plain
from trading_assets.exchange.error_mapping import ADVICE, BANNED_FOR_S, ErrorKind, kind_of_code, kind_of_status
from trading_assets.exchange.keys import ApiKeys

_BY_KIND: dict[ErrorKind, type[ExchangeError]] = {
    ErrorKind.AMBIGUOUS: AmbiguousOutcomeError,
    ErrorKind.PRICE: PriceRefusedError,
    ErrorKind.NOTHING_TO_CLOSE: NothingToCloseError,
    ErrorKind.RULES: RulesChangedError,
    ErrorKind.BALANCE: InsufficientBalanceError,
    ErrorKind.UNAVAILABLE: SymbolUnavailableError,
    ErrorKind.REJECTED: OrderRejectedError,
}
"""Errors of the kinds about which there is nothing to add."""

_LONGEST_MESSAGE = 500
"""Characters of a message of the venue that are kept."""


def refusal(
    method: str, code: int, message: str, headers: Mapping[str, str], *, keys: ApiKeys | None
) -> ExchangeError | None:
    """What a `retCode` other than 0 means; None where what a call sets is so already."""
    message = plain(message[:_LONGEST_MESSAGE])
    text = f"{method}: {keys.removed_from(message) if keys else message} (Bybit code {code})"
    match kind_of_code(code, message):
        case ErrorKind.SUCCESS:
            return None
        case ErrorKind.RETRY:
            return RateLimitedError(text, code=code, retry_after_s=_until_reset(headers))
        case ErrorKind.CLOCK:
            text += "; the local clock differs from the exchange's: synchronise it (NTP)"
            return ClockSkewError(text, code=code)
        case ErrorKind.FATAL:
            advice = ADVICE.get(code, "check the API key, its permissions and its venue")
            return ExchangeFatalError(f"{text}; {advice}", code=code)
        case ErrorKind.SHAPE:
            text += "; is it in hedge mode? This system trades in one-way mode: close positions and orders, then run "
            return AccountShapeError(f"{text}trading-assets accounts prepare", code=code)
        case kind:
            return _BY_KIND[kind](text, code=code)


def of_status(method: str, response: requests.Response) -> ExchangeError:
    """What an HTTP status other than 200 means."""
    status = response.status_code
    text = f"{method}: HTTP {status}"
    match kind_of_status(status, response.content[:2000].decode("utf-8", "replace")):
        case ErrorKind.FATAL:
            return ExchangeFatalError(f"{text}; the venue refuses this key, address or path", code=status)
        case ErrorKind.RETRY:
            return RateLimitedError(
                f"{text}: too many requests; nothing is sent for {BANNED_FOR_S:.0f} s",
                code=status,
                retry_after_s=BANNED_FOR_S,
            )
        case _:
            return AmbiguousOutcomeError(text, code=status)


def of_network(method: str, error: requests.RequestException) -> ExchangeError:
    """What a call without a response means: certainly not sent, or unknown."""
    if isinstance(error, requests.ConnectTimeout) or _never_connected(error):
        return NotSentError(f"{method}: the exchange cannot be reached ({_reason(error)}); is the network up?")
    return AmbiguousOutcomeError(f"{method}: the connection broke before an answer ({_reason(error)})")


def _never_connected(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)


def json_object(response: requests.Response) -> dict[str, Any]:
    """The body as an object; empty where it is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def granted(response: requests.Response | None) -> int | None:
    """The endpoint's limit, where the answer tells it."""
    told = response.headers.get("X-Bapi-Limit", "") if response is not None else ""
    return int(told) if _is_number(told) else None


def _until_reset(headers: Mapping[str, str]) -> float:
    """Seconds until the limit's reset, 1 where the venue does not say."""
    stamp = headers.get("X-Bapi-Limit-Reset-Timestamp")
    if stamp is None or not _is_number(stamp):
        return 1.0
    return min(max(int(stamp) / 1000 - time.time(), 0.05), 10.0)


def _is_number(header: str) -> bool:
    return header.isascii() and header.isdigit() and len(header) < 16


def _reason(error: requests.RequestException) -> str:
    return type(error).__name__
