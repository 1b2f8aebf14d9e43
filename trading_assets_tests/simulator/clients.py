"""Clients of the embedded exchange for the tests: pybit, and plain signed requests."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import requests
from pybit.unified_trading import HTTP

from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET

WINDOW_MS = 60_000
"""Receive window: a request may wait long for its turn on a busy machine."""


def pybit_session(url: str, *, key: str = DEFAULT_API_KEY, secret: str = DEFAULT_API_SECRET) -> HTTP:
    session = HTTP(api_key=key, api_secret=secret, max_retries=1, retry_codes={0}, recv_window=WINDOW_MS, timeout=60)
    session.endpoint = url
    session.client.trust_env = False
    return session


def signed(
    url: str,
    method: str,
    path: str,
    payload: str = "",
    *,
    timestamp: int | None = None,
    window: str = str(WINDOW_MS),
    key: str = DEFAULT_API_KEY,
    secret: str = DEFAULT_API_SECRET,
    headers: Mapping[str, str] | None = None,
) -> requests.Response:
    """One request, signed over `payload`: the raw query string of a GET, the raw body of a POST."""
    stamp = str(time.time_ns() // 1_000_000 if timestamp is None else timestamp)
    text = f"{stamp}{key}{window}{payload}".encode()
    sent = {
        "X-BAPI-API-KEY": key,
        "X-BAPI-TIMESTAMP": stamp,
        "X-BAPI-SIGN": hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(),
        "Content-Type": "application/json",
    }
    if window:
        sent["X-BAPI-RECV-WINDOW"] = window
    sent |= dict(headers or {})
    with requests.Session() as session:
        session.trust_env = False
        if method == "GET":
            return session.get(f"{url}{path}?{payload}" if payload else f"{url}{path}", headers=sent, timeout=60)
        return session.post(f"{url}{path}", data=payload.encode(), headers=sent, timeout=60)


def get(url: str, path: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{url}{path}", timeout=60)


def post(url: str, path: str, body: object) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{url}{path}", data=json.dumps(body), timeout=60)


def answer(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return response.json()
