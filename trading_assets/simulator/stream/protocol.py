"""Texts of the stream protocol: requests parsed and checked, answers written. No connections, no market data."""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass

from trading_assets.core.errors import TradingAssetsError
from trading_assets.simulator.auth import Credentials

MAX_ARGS_CHARS = 21_000

_CATEGORIES: dict[str, tuple[str, ...]] = {
    "order": ("spot", "linear", "inverse", "option"),
    "execution": ("spot", "linear", "inverse", "option"),
    "execution.fast": ("spot", "linear", "inverse", "option"),
    "position": ("linear", "inverse", "option"),
    "wallet": (),
}
"""All-in-one topic -> the categories it is also offered by, as `order.linear`."""

_CATEGORISED = frozenset(f"{kind}.{category}" for kind, categories in _CATEGORIES.items() for category in categories)

DISCONNECTION = "dcp.future"
"""Its subscribers are protected against disconnection; nothing is ever told on it."""

RequestId = str | int | None


class Rejection(TradingAssetsError):
    """The answer is `success: false` with this `ret_msg`; on the trade stream it has this `retCode`."""

    def __init__(self, message: str, code: int = 10001) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Request:
    """One message of a client; `req_id` is None where it sent none."""

    op: str
    args: tuple[object, ...]
    req_id: RequestId

    def topics(self) -> tuple[str, ...]:
        """The arguments of a subscription, each once.

        Raises:
            Rejection: none, too many, or not strings.
        """
        topics = tuple(dict.fromkeys(arg for arg in self.args if isinstance(arg, str)))
        if not topics or any(not isinstance(arg, str) for arg in self.args):
            raise Rejection("error:args must be a list of topics")
        if sum(len(topic) for topic in topics) > MAX_ARGS_CHARS:
            raise Rejection(f"error:args is longer than {MAX_ARGS_CHARS} characters")
        return topics


def parse(text: str) -> Request:
    """Read one message of a client.

    Raises:
        Rejection: not a JSON object, or its keys have other types.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Rejection("error:invalid json") from None
    if not isinstance(value, dict):
        raise Rejection("error:invalid json, an object was expected")
    op, args, req_id = value.get("op", ""), value.get("args") or [], value.get("req_id")
    if not isinstance(op, str) or not isinstance(args, list):
        raise Rejection("error:invalid op")
    if isinstance(req_id, bool) or not isinstance(req_id, (str, int, type(None))):
        raise Rejection("error:req_id must be a string or an integer")
    return Request(op, tuple(args), req_id)


def check_private(topics: Collection[str]) -> None:
    """Check the topics of one private subscription.

    Raises:
        Rejection: an unknown topic, or all-in-one and categorised topics in one request.
    """
    for topic in topics:
        if topic not in _CATEGORIES and topic not in _CATEGORISED and topic != DISCONNECTION:
            raise Rejection(f"error:handler not found,topic:{topic}")
    categorised = [topic for topic in topics if topic in _CATEGORISED]
    all_in_one = [topic for topic in topics if _CATEGORIES.get(topic)]
    if categorised and all_in_one:
        raise Rejection(f"error:topics of both kinds in one request,topic:{all_in_one[0]},topic:{categorised[0]}")


def check_auth(args: tuple[object, ...], credentials: Credentials, accepted_times_ms: tuple[int, ...]) -> None:
    """Key, expiry (ms, as number or string) and signature of `GET/realtime` and the expiry.

    Raises:
        Rejection: any of them is wrong, or the expiry lies before all of `accepted_times_ms`.
    """
    if len(args) != 3 or any(isinstance(arg, bool) or not isinstance(arg, (str, int)) for arg in args):
        raise Rejection("Params Error")
    key, expires, signature = (str(arg) for arg in args)
    if not expires.isascii() or not expires.isdigit() or len(expires) > 18:
        raise Rejection("Params Error")
    if not _same(key, credentials.key):
        raise Rejection("API key is invalid.", 10003)
    if int(expires) <= min(accepted_times_ms):
        raise Rejection("Your request has expired.", 10002)
    if not _same(signature, credentials.sign(f"GET/realtime{expires}".encode())):
        raise Rejection("error sign!", 10004)


def _same(given: str, expected: str) -> bool:
    # JSON may hold half a surrogate pair, which UTF-8 does not.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode())


def acknowledgement(request: Request, conn_id: str, *, is_private: bool) -> str:
    """That a request was carried out. Public answers always have a `req_id`, private ones where it was given."""
    answer: dict[str, object] = {
        "success": True,
        "ret_msg": "" if is_private else request.op,
        "op": request.op,
        "conn_id": conn_id,
    }
    return json.dumps(answer | _request_id(request.req_id, is_private), separators=(",", ":"))


def refusal(message: str, request: Request | None, conn_id: str, *, is_private: bool) -> str:
    """That a request was not carried out; None is one that could not be read."""
    answer: dict[str, object] = {
        "success": False,
        "ret_msg": message,
        "op": request.op if request is not None else "",
        "conn_id": conn_id,
    }
    req_id = request.req_id if request is not None else None
    return json.dumps(answer | _request_id(req_id, is_private), separators=(",", ":"))


def pong(request: Request, conn_id: str, now_ms: int, *, is_private: bool) -> str:
    answer: dict[str, object] = (
        {"op": "pong", "args": [str(now_ms)], "conn_id": conn_id}
        if is_private
        else {"success": True, "ret_msg": "pong", "conn_id": conn_id, "op": "ping"}
    )
    return json.dumps(_request_id(request.req_id, is_private) | answer, separators=(",", ":"))


def _request_id(req_id: RequestId, is_private: bool) -> dict[str, object]:
    if req_id is None:
        return {} if is_private else {"req_id": ""}
    return {"req_id": req_id}
