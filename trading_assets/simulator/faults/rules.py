"""One fault rule: where, when and what. Validation and matching of a single rule; counting is in `injector`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from trading_assets.core.timeframes import MINUTE_MS

WS = "ws:"
METHODS = frozenset({"GET", "POST"})
ACCOUNT_LISTS = (
    "/v5/order/realtime",
    "/v5/order/history",
    "/v5/position/list",
    "/v5/position/closed-pnl",
    "/v5/execution/list",
    "/v5/account/wallet-balance",
    "/v5/account/transaction-log",
)
"""What may lag behind the account."""

ORDER_ENTRY = ("/v5/order/create", "/v5/order/create-batch")
ORDER_CHANGES = (
    *("/v5/order/amend", "/v5/order/cancel", "/v5/order/cancel-all"),
    *("/v5/order/amend-batch", "/v5/order/cancel-batch"),
)
_SPAN = re.compile(r"(\d+)(-(\d*))?")


class Outcome(StrEnum):
    """What becomes of a request; a rule has one at most."""

    LOST_REQUEST = "lost_request"
    LOST_ANSWER = "lost_answer"
    HTTP_STATUS = "http_status"
    HTML = "html"
    TRUNCATED = "truncated"
    RET_CODE = "ret_code"
    BAN = "ban_s"


def _minute(value: object) -> object:
    """ISO time or ms -> ms."""
    if isinstance(value, str) and not value.isdigit():
        time = datetime.fromisoformat(value)
        value = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    elif isinstance(value, datetime):  # YAML reads times by itself
        value = int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, int) and value % MINUTE_MS:
        raise ValueError("must be the start of a minute")
    return value


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Minutes = Annotated[tuple[Annotated[int, BeforeValidator(_minute)], ...], BeforeValidator(_as_list)]


class FaultRule(BaseModel):
    """A fault of the embedded exchange.

    Attributes:
        where: `POST /v5/order/create`, `GET /v5/market/*`, `/v5/*` (any method), or `ws:TOPIC` with `*` allowed.
        match: parameters that the request must have; `*` allowed in the values.
        calls: which of the matching calls, from 1: `2`, `[1, 4]`, `"3-5"`, `"3-"`.
        after_ms, until_ms: only so long after the rule was added, by the exchange's clock.
        probability: of firing at a call that fits; the same `seed` gives the same sequence.
        times: fire so often at most.
        processed: whether the request takes effect first (`http_status`, `html`, `ret_code`, `latency_ms`).
        body: text of a `http_status` answer; a proxy's HTML page when None.
        ban_s: 403 "access too frequent" for this address, so long by the wall clock.
        clock_skew_ms: added to the time of the server, the envelope and the timestamp check.
        stale_candle: klines end so many candles early.
        stand_still: public data stays as it was when the rule first fired.
        missing_candle: starts (ISO or ms) that klines leave out.
        rows: fields that a row of the answer or message must have to be changed; `*` allowed; without it every row.
        set: new values of fields; a dot leads into nested objects and lists, as in `lotSizeFilter.qtyStep`.
        without: fields that are left out.
        leave_out: the rows are missing.
        repeat_rows: each of the rows comes twice.
        overlap_rows: a later page begins with so many rows of the page before it.
        lag_ms: an account's list shows what was so long ago, by the exchange's clock.
        reject_reason: an order is acknowledged and then rejected for this reason.
        fill_parts: an order is filled in so many parts at least, one a minute.
        act_after_ms: a change or cancellation is accepted and takes effect so much later, if the order is open then.
        silence, drop, duplicate, delay_ms, reorder: of a WebSocket message: not sent, connection closed, sent
            twice, sent later, sent after its successor.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: str
    match: dict[str, str] = Field(default_factory=dict)
    calls: tuple[str, ...] = ()
    after_ms: int = Field(0, ge=0)
    until_ms: int | None = Field(None, gt=0)
    probability: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    times: int | None = Field(None, ge=1)
    processed: bool | None = None

    latency_ms: int = Field(0, ge=0, le=600_000)
    lost_request: bool = False
    lost_answer: bool = False
    http_status: int | None = Field(None, ge=400, le=599)
    body: str | None = None
    html: bool = False
    truncated: bool = False
    ret_code: int | None = None
    ret_msg: str | None = None
    ban_s: float | None = Field(None, gt=0, le=86_400)
    clock_skew_ms: int = 0
    stale_candle: int = Field(0, ge=0, le=1000)
    stand_still: bool = False
    missing_candle: Minutes = ()

    rows: dict[str, str] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    without: Names = ()
    leave_out: bool = False
    repeat_rows: bool = False
    overlap_rows: int = Field(0, ge=0, le=50)
    lag_ms: int = Field(0, ge=0)
    reject_reason: str = ""
    fill_parts: int = Field(1, ge=1, le=100)
    act_after_ms: int = Field(0, ge=0, le=3_600_000)

    silence: bool = False
    drop: bool = False
    duplicate: bool = False
    delay_ms: int = Field(0, ge=0, le=600_000)
    reorder: bool = False

    @field_validator("where")
    @classmethod
    def _known_form(cls, where: str) -> str:
        method, _, path = where.rpartition(" ")
        if where.startswith(WS):
            if len(where) > len(WS):
                return where
        elif path.startswith(("/", "*")) and (not method or method in METHODS | {"*"}):
            return where
        raise ValueError('expected "GET /v5/...", "POST /v5/...", "/v5/..." or "ws:TOPIC", with * where any will do')

    @field_validator("match", "rows", mode="before")
    @classmethod
    def _as_texts(cls, fields: object) -> object:
        return {name: _text(value) for name, value in fields.items()} if isinstance(fields, Mapping) else fields

    @field_validator("calls", mode="before")
    @classmethod
    def _spans(cls, calls: object) -> object:
        spans = tuple(str(call) for call in calls) if isinstance(calls, list | tuple) else (str(calls),)
        for found in (_SPAN.fullmatch(span) for span in spans or ("",)):
            if found is None or int(found[1]) < 1 or (found[3] and int(found[3]) < int(found[1])):
                raise ValueError('expected the number of a call from 1, a list of them, or a range as "3-5" or "3-"')
        return spans

    @model_validator(mode="after")
    def _is_one_fault(self) -> FaultRule:
        outcomes = [outcome for outcome in Outcome if getattr(self, outcome.value)]
        if len(outcomes) > 1:
            raise ValueError(f"{' and '.join(outcomes)} exclude each other: make two rules")
        altered = self.latency_ms or self.clock_skew_ms or self.stale_candle or self.stand_still or self.missing_candle
        on_orders = bool(self.reject_reason or self.fill_parts > 1)
        on_requests = bool(outcomes or altered or self.overlap_rows or self.lag_ms or on_orders or self.act_after_ms)
        on_messages = bool(self.silence or self.drop or self.duplicate or self.delay_ms or self.reorder)
        if not on_requests and not on_messages and not self.changes_rows:
            raise ValueError("the rule does nothing: give it a fault, as latency_ms, lost_answer, ret_code or silence")
        if on_requests and self.is_for_messages:
            raise ValueError("a ws: rule takes only silence, drop, duplicate, delay_ms, reorder and changes of rows")
        if on_messages and not self.is_for_messages:
            raise ValueError("silence, drop, duplicate, delay_ms and reorder need a WebSocket topic: where ws:TOPIC")
        if self.match and self.is_for_messages:
            raise ValueError("match is for requests: write the symbol into the topic, as ws:kline.1.BTCUSDT")
        if self.processed is not None and not (self.http_status or self.html or self.ret_code or self.latency_ms):
            raise ValueError("processed goes with http_status, html, ret_code or latency_ms")
        if self.body is not None and self.http_status is None:
            raise ValueError("body goes with http_status")
        if self.ret_msg is not None and self.ret_code is None:
            raise ValueError("ret_msg goes with ret_code")
        if self.rows and not self.changes_rows:
            raise ValueError("rows goes with set, without, leave_out or repeat_rows")
        if self.lag_ms and not any(self.covers("GET", path) for path in ACCOUNT_LISTS):
            raise ValueError(f"lag_ms is for the lists of the account: {', '.join(ACCOUNT_LISTS)}")
        if on_orders and not any(self.covers("POST", path) for path in ORDER_ENTRY):
            raise ValueError("reject_reason and fill_parts are for POST /v5/order/create")
        if self.act_after_ms and not any(self.covers("POST", path) for path in ORDER_CHANGES):
            raise ValueError(f"act_after_ms is for {', '.join(ORDER_CHANGES)}")
        if self.until_ms is not None and self.until_ms <= self.after_ms:
            raise ValueError("until_ms must be later than after_ms")
        return self

    @property
    def changes_rows(self) -> bool:
        return bool(self.set or self.without or self.leave_out or self.repeat_rows)

    @property
    def is_for_messages(self) -> bool:
        return self.where.startswith(WS)

    @property
    def outcome(self) -> Outcome | None:
        return next((outcome for outcome in Outcome if getattr(self, outcome.value)), None)

    @property
    def is_processed(self) -> bool:
        """Whether the request takes effect although its answer is disturbed."""
        if self.outcome in (Outcome.LOST_ANSWER, Outcome.TRUNCATED):
            return True
        return self.outcome is None or (
            self.outcome not in (Outcome.LOST_REQUEST, Outcome.BAN) and bool(self.processed)
        )

    def covers(self, method: str, path: str) -> bool:
        """Whether requests of this method and path are meant."""
        wanted, _, pattern = self.where.rpartition(" ")
        return not self.is_for_messages and wanted in ("", "*", method) and fnmatchcase(path, pattern)

    def covers_topic(self, topic: str) -> bool:
        return self.is_for_messages and fnmatchcase(topic, self.where.removeprefix(WS))

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameters are those of `match`."""
        return all(fnmatchcase(_text(values.get(name, "")), wanted) for name, wanted in self.match.items())

    def means_row(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has the fields of `rows`."""
        return all(fnmatchcase(_text(row.get(name, "")), wanted) for name, wanted in self.rows.items())

    def means_call(self, number: int) -> bool:
        """Whether the `number`th matching call, from 1, is one of `calls`."""
        return not self.calls or any(_holds(span, number) for span in self.calls)

    def summary(self) -> dict[str, Any]:
        """As it was written, without what it leaves at its default."""
        return self.model_dump(mode="json", exclude_defaults=True)


def _holds(span: str, number: int) -> bool:
    first, dash, last = span.partition("-")
    return int(first) <= number <= (int(last or number) if dash else int(first))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
