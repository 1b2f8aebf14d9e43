"""The account's private stream of Bybit: orders, executions, positions and the wallet, as hints of what to read.

A stream lies, repeats, reorders or falls silent, so its rows are not taken for the truth: the listener learns which
symbols have changed and asks by REST. A private stream is quiet for hours where nothing happens; the answers to pings
tell that the connection lives.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from websockets.sync.client import ClientConnection

from trading_assets.core.streams import AccountChanged, AccountEvent, Down, Up
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.supervisor import BrokenError, StreamSupervisor

TOPICS = ("order", "execution", "position", "wallet")
PING_EVERY_S = 5.0
SILENCE_S = 12.0
"""Two pings without an answer: the connection is dead, and the listener knows within 15 s."""

ANSWER_WITHIN_S = 10.0
SIGNATURE_LASTS_MS = 10_000


class BybitAccountStream(StreamSupervisor):
    """See `trading_assets.core.streams.AccountStream`.

    Args:
        url: gives the address of the private stream; asked before each connection, as it may have moved.
        deliver: called with each event, in the stream's thread; must return at once.
        now_ms: the venue's time, UTC ms: the signature ends soon after it.
        silence_s: a connection without any message for so long is taken for dead.
    """

    def __init__(
        self,
        url: Callable[[], str],
        keys: ApiKeys,
        deliver: Callable[[AccountEvent], None],
        now_ms: Callable[[], int],
        *,
        silence_s: float = SILENCE_S,
        jitter: random.Random | None = None,
    ) -> None:
        super().__init__(
            "account-stream",
            url,
            lambda reason: deliver(Down(reason)),
            silence_s=silence_s,
            ping_every_s=PING_EVERY_S,
            jitter=jitter,
        )
        self._keys, self._deliver, self._now_ms = keys, deliver, now_ms
        self._asked_at = 0.0
        self._waits_for: str | None = None

    def _begin(self, line: ClientConnection) -> None:
        expires = self._now_ms() + SIGNATURE_LASTS_MS
        self._ask(
            line, "auth", [self._keys.key.get_secret_value(), expires, self._keys.signature(f"GET/realtime{expires}")]
        )

    def _ask(self, line: ClientConnection, operation: str, arguments: list[object]) -> None:
        self._waits_for, self._asked_at = operation, time.monotonic()
        line.send(json.dumps({"req_id": operation, "op": operation, "args": arguments}))

    def _watch(self, line: ClientConnection, now: float) -> None:
        if self._waits_for is not None and now - self._asked_at > ANSWER_WITHIN_S:
            raise BrokenError(f"{self._waits_for} was not answered within {ANSWER_WITHIN_S:.0f} s")

    def _hear(self, line: ClientConnection, message: bytes) -> None:
        self.heard_at = time.monotonic()
        try:
            told = json.loads(message)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            self.counts.malformed += 1
            self._deliver(AccountChanged(frozenset(TOPICS), frozenset(), 0))
        elif isinstance(told.get("topic"), str):
            self._pass_on(told)
        elif self._waits_for is not None and told.get("op") == self._waits_for:
            self._take_answer(line, told)

    def _take_answer(self, line: ClientConnection, answer: Mapping[str, Any]) -> None:
        if answer.get("success") is not True:
            why = self._keys.removed_from(str(answer.get("ret_msg") or "no reason was given"))
            raise BrokenError(f"{self._waits_for} was refused: {why}")
        if self._waits_for == "auth":
            self._ask(line, "subscribe", list(TOPICS))
        else:
            self._waits_for = None
            self._deliver(Up(()))

    def _pass_on(self, told: Mapping[str, Any]) -> None:
        """Tell which symbols a message concerns: none where a row of it does not say, and it is a hint all the same."""
        rows = told.get("data")
        kind = str(told["topic"]).partition(".")[0]
        if kind not in TOPICS:
            return
        listed = rows if isinstance(rows, list) else [None]
        names = [row.get("symbol") if isinstance(row, dict) else None for row in listed]
        is_whole = all(isinstance(name, str) and name for name in names)
        symbols = frozenset(map(str, names)) if is_whole else frozenset[str]()
        stamp = told.get("creationTime")
        self._deliver(AccountChanged(frozenset({kind}), symbols, stamp if isinstance(stamp, int) else 0))
