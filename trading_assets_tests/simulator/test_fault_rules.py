"""Fault rules as such: what they accept, when they fire, what they say. No server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import ConfigurationError
from trading_assets.simulator.faults.injector import NO_FAULT, NO_MESSAGE_FAULT, Faults, MessageFault, RequestFault
from trading_assets.simulator.faults.parsing import parse_rules, read_rules
from trading_assets.simulator.faults.rules import FaultRule, Outcome
from trading_assets.simulator.server import ENDPOINTS
from trading_assets_tests.simulator.fake_market import T0

CREATE = "/v5/order/create"


def armed(*rules: dict[str, Any]) -> Faults:
    faults = Faults()
    faults.add(parse_rules(list(rules), ENDPOINTS), T0)
    return faults


def ask(
    faults: Faults, path: str = CREATE, now_ms: int = T0, values: Mapping[str, Any] | None = None, method: str = "POST"
) -> RequestFault:
    return faults.for_request(method, path, lambda: values or {}, now_ms)


def fired(faults: Faults, count: int, **rest: Any) -> list[int]:
    """Which of `count` calls meet a fault, from 1."""
    return [number for number in range(1, count + 1) if ask(faults, **rest) is not NO_FAULT]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [(2, [2]), ([1, 4], [1, 4]), ("3-5", [3, 4, 5]), ("5-", [5, 6]), (["1", "5-"], [1, 5, 6]), ("2-2", [2])],
)
def test_calls_say_which_of_the_matching_requests_meet_the_fault(calls: object, expected: list[int]) -> None:
    faults = armed({"where": f"POST {CREATE}", "calls": calls, "lost_answer": True})
    ask(faults, path="/v5/order/cancel")
    assert fired(faults, 6) == expected


@pytest.mark.parametrize(
    ("where", "method", "path", "meant"),
    [
        ("POST /v5/order/create", "POST", CREATE, True),
        ("POST /v5/order/create", "GET", CREATE, False),
        ("/v5/order/*", "POST", CREATE, True),
        ("* /v5/*", "GET", "/v5/market/time", True),
        ("GET /v5/market/*", "GET", "/v5/market/funding/history", True),
        ("GET /v5/market/*", "GET", "/v5/order/history", False),
        ("*", "GET", "/v5/order/history", True),
    ],
)
def test_where_is_method_and_path_with_wildcards(where: str, method: str, path: str, meant: bool) -> None:
    assert (ask(armed({"where": where, "html": True}), path, method=method) is not NO_FAULT) is meant


def test_a_rule_holds_between_two_times_after_it_was_added() -> None:
    faults = armed({"where": "*", "after_ms": 1000, "until_ms": 2000, "http_status": 503})
    times = (T0, T0 + 999, T0 + 1000, T0 + 1999, T0 + 2000)
    assert [ask(faults, now_ms=now) is not NO_FAULT for now in times] == [False, False, True, True, False]


def test_a_rule_fires_so_often_at_most() -> None:
    assert fired(armed({"where": "*", "times": 2, "html": True}), 5) == [1, 2]


def test_chance_follows_its_seed_and_comes_near_its_probability() -> None:
    def hits(seed: int) -> list[int]:
        return fired(armed({"where": "*", "probability": 0.3, "seed": seed, "html": True}), 400)

    assert hits(1) == hits(1) != hits(2)
    assert 90 < len(hits(1)) < 150


def test_match_looks_at_the_parameters() -> None:
    faults = armed({"where": "*", "match": {"symbol": "BTC*", "reduceOnly": True, "positionIdx": 0}, "html": True})
    good = {"symbol": "BTCUSDT", "reduceOnly": True, "positionIdx": 0}
    assert ask(faults, values=good) is not NO_FAULT
    for other in ({"symbol": "ETHUSDT"}, {"reduceOnly": False}, {"positionIdx": 1}):
        assert ask(faults, values=good | other) is NO_FAULT
    assert ask(faults) is NO_FAULT


def test_waits_and_skews_add_up_but_only_the_first_outcome_counts() -> None:
    faults = armed(
        {"where": "*", "latency_ms": 20},
        {"where": "*", "latency_ms": 30, "processed": True},
        {"where": "*", "ret_code": 10016},
        {"where": "*", "lost_answer": True},
        {"where": "*", "clock_skew_ms": 500},
        {"where": "*", "clock_skew_ms": -100},
    )
    fault = ask(faults)
    assert (fault.before_ms, fault.after_ms, fault.skew_ms) == (20, 30, 400)
    assert fault.outcome is not None and fault.outcome.outcome is Outcome.RET_CODE
    assert [row["hits"] for row in faults.rows()] == [1, 1, 1, 0, 1, 1]


def test_standing_still_begins_with_the_first_hit() -> None:
    faults = armed({"where": "GET /v5/market/*", "after_ms": 500, "stand_still": True})
    stills = [ask(faults, "/v5/market/tickers", now, method="GET").still_ms for now in (T0, T0 + 700, T0 + 900)]
    assert stills == [None, T0 + 700, T0 + 700]


@pytest.mark.parametrize(
    ("rule", "processed"),
    [
        ({"lost_request": True}, False),
        ({"lost_answer": True}, True),
        ({"truncated": True}, True),
        ({"http_status": 502}, False),
        ({"http_status": 502, "processed": True}, True),
        ({"ret_code": 10000, "processed": True}, True),
        ({"html": True}, False),
        ({"ban_s": 1}, False),
        ({"latency_ms": 1}, True),
    ],
)
def test_each_fault_says_whether_the_request_takes_effect(rule: dict[str, Any], processed: bool) -> None:
    assert parse_rules({"where": "*", **rule}, ENDPOINTS)[0].is_processed is processed


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"where": "ws:order", "silence": True}, MessageFault(silence=True)),
        ({"where": "ws:ord*", "drop": True}, MessageFault(drop=True)),
        ({"where": "ws:*", "duplicate": True, "delay_ms": 40}, MessageFault(duplicate=True, delay_ms=40)),
        ({"where": "ws:order", "reorder": True}, MessageFault(reorder=True)),
        ({"where": "ws:kline.*", "silence": True}, NO_MESSAGE_FAULT),
        ({"where": "ws:order", "calls": 2, "silence": True}, NO_MESSAGE_FAULT),
        ({"where": "ws:order", "after_ms": 1, "silence": True}, NO_MESSAGE_FAULT),
    ],
)
def test_messages_are_disturbed_by_topic(rule: dict[str, Any], fault: MessageFault) -> None:
    faults = armed(rule)
    assert faults.for_message("order", T0) == fault
    assert ask(faults) is NO_FAULT


def test_faults_of_several_rules_meet_in_one_message() -> None:
    faults = armed({"where": "ws:kline.*", "delay_ms": 5}, {"where": "ws:kline.1.*", "delay_ms": 7, "duplicate": True})
    assert faults.for_message("kline.1.BTCUSDT", T0) == MessageFault(duplicate=True, delay_ms=12)
    assert faults.for_message("kline.5.BTCUSDT", T0) == MessageFault(delay_ms=5)
    last = {"time_ms": T0, "time": "2026-01-01T00:00:00Z", "subject": "ws:kline.5.BTCUSDT", "call": 2}
    assert faults.rows()[0]["last_fired"] == last


def test_rules_are_lifted_one_by_one_or_all() -> None:
    faults = armed({"where": "*", "html": True}, {"where": "*", "latency_ms": 1}, {"where": "ws:*", "drop": True})
    assert [row["id"] for row in faults.rows()] == ["f1", "f2", "f3"]
    assert faults.remove("f1") == 1 and faults.remove("f1") == 0
    assert ask(faults).before_ms == 1
    assert faults.remove() == 2 and ask(faults) is NO_FAULT


BAD: list[tuple[object, str]] = [
    ({"where": "POST /v5/order/creat", "html": True}, "no endpoint"),
    ({"where": "PUT /v5/order/create", "html": True}, "where: expected"),
    ({"where": "ws:", "silence": True}, "where: expected"),
    ({"html": True}, "where: Field required"),
    ({"where": "*"}, "does nothing"),
    ({"where": "*", "lost": True}, "lost: Extra inputs"),
    ({"where": "*", "lost_answer": True, "html": True}, "exclude each other"),
    ({"where": "*", "http_status": 200}, "http_status"),
    ({"where": "*", "latency_ms": "soon"}, "latency_ms"),
    ({"where": "*", "html": True, "probability": 1.5}, "probability"),
    ({"where": "*", "html": True, "calls": "5-3"}, "calls"),
    ({"where": "*", "html": True, "calls": 0}, "calls"),
    ({"where": "*", "html": True, "calls": []}, "calls"),
    ({"where": "*", "html": True, "after_ms": 5, "until_ms": 5}, "until_ms"),
    ({"where": "*", "missing_candle": "yesterday"}, "missing_candle"),
    ({"where": "*", "missing_candle": [60_001]}, "minute"),
    ({"where": "*", "truncated": True, "processed": False}, "processed"),
    ({"where": "*", "html": True, "body": "x"}, "body"),
    ({"where": "*", "html": True, "ret_msg": "x"}, "ret_msg"),
    ({"where": "ws:order", "html": True}, "ws: rule"),
    ({"where": "*", "silence": True}, "ws:TOPIC"),
    ({"where": "ws:kline.*", "silence": True, "match": {"symbol": "BTCUSDT"}}, "topic"),
    (["x"], "expected an object"),
    ([{"where": "*", "html": True}, 5], "expected an object"),
    ("text", "expected an object"),
]


@pytest.mark.parametrize(("value", "says"), BAD)
def test_a_bad_rule_is_refused_with_its_place(value: object, says: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)^rule [12].*{says}"):
        parse_rules(value, ENDPOINTS)


def test_rules_come_from_json_and_yaml(tmp_path: Path) -> None:
    rules = [
        {"where": "GET /v5/market/kline", "missing_candle": ["2026-01-01T00:01:00Z"]},
        {"where": "*", "html": True},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"faults": rules}))
    (tmp_path / "a.yaml").write_text(
        "faults:\n- where: GET /v5/market/kline\n  missing_candle: [2026-01-01T00:01:00Z]\n- {where: '*', html: true}\n"
    )
    assert read_rules(tmp_path / "a.json", ENDPOINTS) == read_rules(tmp_path / "a.yaml", ENDPOINTS)
    assert read_rules(tmp_path / "a.json", ENDPOINTS)[0].missing_candle == (T0 + 60_000,)
    (tmp_path / "empty.yaml").write_text("")
    assert read_rules(tmp_path / "empty.yaml", ENDPOINTS) == ()


@pytest.mark.parametrize("text", ["{", "[1", "where: *x", '{"where": "*"}', "\x00", "a: b: c"])
def test_a_bad_file_is_a_configuration_error_that_names_it(tmp_path: Path, text: str) -> None:
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigurationError, match=name):
            read_rules(tmp_path / name, ENDPOINTS)
    with pytest.raises(ConfigurationError, match="absent"):
        read_rules(tmp_path / "absent.json", ENDPOINTS)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2026-01-01", "9-"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(["*", "ws:*", "/v5/order/*", "GET /v5/market/kline", "POST *", "[", "GET [!", "/v5/[a-z"])
fields = st.dictionaries(st.sampled_from(sorted(FaultRule.model_fields)), anything, max_size=4)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.one_of(anything, st.builds(lambda where, rest: rest | {"where": where}, places, fields)))
def test_whatever_is_given_is_a_rule_that_works_or_a_clear_refusal(value: object) -> None:
    try:
        rules = parse_rules(value, ENDPOINTS)
    except ValueError as error:
        assert str(error).startswith("rule ")
        return
    faults = Faults()
    faults.add(rules, T0)
    for path in (CREATE, "/v5/market/kline"):
        ask(faults, path)
    faults.for_message("kline.1.BTCUSDT", T0)
    json.dumps(faults.rows())
