"""Who may call: Bybit's HMAC signature over the raw request, and the receive window. Nothing else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from trading_assets.simulator.codec import Refusal

DEFAULT_API_KEY = "simulator-key"
DEFAULT_API_SECRET = "simulator-secret"
"""The well-known pair of an exchange that only the own machine can reach; it guards nothing."""

DEFAULT_RECV_WINDOW_MS = 5000
FUTURE_TOLERANCE_MS = 1000


class MissingCredentialsError(Refusal):
    """A signed endpoint was called without the authentication headers."""


@dataclass(frozen=True)
class Credentials:
    """The one key pair of the exchange."""

    key: str = DEFAULT_API_KEY
    secret: str = DEFAULT_API_SECRET

    def sign(self, payload: bytes) -> str:
        """HMAC-SHA256 in lower-case hex."""
        return hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest()


def verify(
    credentials: Credentials, headers: Mapping[str, str], payload: bytes, accepted_times_ms: tuple[int, ...]
) -> None:
    """Check one request; `payload` is the raw query string (GET) or body (POST) exactly as received.

    Raises:
        Refusal: with Bybit's code 10001, 10002, 10003 or 10004.
    """
    key, stamp, signature = (headers.get(f"x-bapi-{name}", "") for name in ("api-key", "timestamp", "sign"))
    if not (key and stamp and signature):
        raise MissingCredentialsError(10003, "API key is invalid: authentication headers are missing.")
    if not hmac.compare_digest(key.encode(), credentials.key.encode()):
        raise Refusal(10003, "API key is invalid.")
    check_time(headers, accepted_times_ms)
    origin = f"{stamp}{key}{headers.get('x-bapi-recv-window', '')}".encode() + payload
    if not hmac.compare_digest(credentials.sign(origin).encode(), signature.encode()):
        raise Refusal(10004, f"error sign! origin_string[{origin.decode(errors='replace')}]")


def check_time(headers: Mapping[str, str], accepted_times_ms: tuple[int, ...]) -> None:
    """The timestamp must fit the receive window around one of `accepted_times_ms`.

    A client of a virtual exchange signs with its wall clock, one that synchronised itself with the exchange's.

    Raises:
        Refusal: 10001 no timestamp, 10002 outside the window.
    """
    stamp, window = headers.get("x-bapi-timestamp", ""), headers.get("x-bapi-recv-window", "")
    try:
        timestamp, window_ms = int(stamp), int(window) if window else DEFAULT_RECV_WINDOW_MS
    except ValueError:
        raise Refusal(10001, "X-BAPI-TIMESTAMP and X-BAPI-RECV-WINDOW must be milliseconds") from None
    if not any(now - window_ms <= timestamp < now + FUTURE_TOLERANCE_MS for now in accepted_times_ms):
        raise Refusal(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{timestamp}],server_timestamp[{accepted_times_ms[0]}],recv_window[{window_ms}]",
        )
