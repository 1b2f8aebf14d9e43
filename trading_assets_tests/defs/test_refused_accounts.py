"""What the exchange refuses of the whole account reaches the alert from every job, once an episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from trading_assets.core.models import ApiKeyInfo
from trading_assets.core.ports import Exchange
from trading_assets.defs.resources import runtime
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.notifications.notifier import Notifier
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets_tests.defs.conftest import run_job
from trading_assets_tests.defs.test_risk_jobs import code, run, states
from trading_assets_tests.defs.test_trading import account, ledger, put_signal, venue  # noqa: F401

PRIVATE = (
    *("GET /v5/user/query-api", "GET /v5/account/info", "GET /v5/account/wallet-balance", "GET /v5/position/list"),
    *("GET /v5/order/realtime", "GET /v5/order/history", "GET /v5/execution/list", "GET /v5/position/closed-pnl"),
    *("GET /v5/account/transaction-log", "POST /v5/order/create", "POST /v5/position/set-leverage"),
)


def _once() -> dg.ExecuteInProcessResult:
    return run_job("trade", raise_on_error=False)


def _reconcile() -> dg.ExecuteInProcessResult:
    return run_job("reconcile", raise_on_error=False)


def _resume() -> dg.ExecuteInProcessResult:
    return run("resume", "resume_trading", confirmation=code("resume"))


def _flatten() -> dg.ExecuteInProcessResult:
    return run("flatten", "close_all_positions", confirmation=code("flatten"), reason="storm")


MONEY = ("trade", "flatten")
"""Jobs that open and close positions. The others are refused in the same way."""

JOBS: dict[str, Callable[[], dg.ExecuteInProcessResult]] = {
    "trade": _once,
    "reconcile": _reconcile,
    "resume": _resume,
    "flatten": _flatten,
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(Notifier, "notify", lambda _self, message: heard.append(f"{message.title}: {message.body}"))
    return heard


@pytest.fixture(autouse=True)
def _key_is_asked() -> Iterator[None]:
    """Each test is a process of its own: it asks what the key may do."""
    runtime._exchange.cache_clear()
    yield
    runtime._exchange.cache_clear()


def _refuse(venue: RunningExchange, ret_code: int) -> None:  # noqa: F811
    rules = [FaultRule.model_validate({"where": where, "ret_code": ret_code}) for where in PRIVATE]
    venue.faults.add(rules, venue.now_ms())


@pytest.mark.slow
@pytest.mark.parametrize(
    "is_known_good",
    [
        pytest.param(False, id="the key is asked for"),
        pytest.param(True, id="the key was good before", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("job", [pytest.param(job, marks=() if job in MONEY else pytest.mark.slow) for job in JOBS])
def test_every_job_tells_that_the_key_has_expired(
    venue: RunningExchange,  # noqa: F811
    ledger: Database,  # noqa: F811
    account: Exchange,  # noqa: F811
    told: list[str],
    job: str,
    is_known_good: bool,
) -> None:
    if is_known_good:
        assert _reconcile().success
    put_signal(ledger, account)
    told.clear()
    for _ in range(2):
        _refuse(venue, 33004)
        assert not JOBS[job]().success
        JOBS[job]()
        others = [other for other in JOBS if other != job]
        JOBS[others[0]]()
        assert len([text for text in told if "33004" in text and "create a new one" in text and "refuses" in text]) == 1
        venue.faults.remove()
        assert _reconcile().success
        told.clear()
    assert list(account.positions()) == []


@pytest.mark.slow
@pytest.mark.parametrize("job", [pytest.param(job, marks=() if job in MONEY else pytest.mark.slow) for job in JOBS])
def test_every_job_tells_that_the_key_may_not_trade(
    account: Exchange,  # noqa: F811
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    job: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(account), "api_key", lambda _self: ApiKeyInfo(True, False, ("127.0.0.1",), None))
        for _ in range(2):
            assert not JOBS[job]().success
    assert len([text for text in told if "read-only" in text and "read-write" in text]) == 1
    assert _reconcile().success
    runtime._exchange.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(type(account), "api_key", lambda _self: ApiKeyInfo(True, False, ("127.0.0.1",), None))
        assert not JOBS[job]().success
    assert len([text for text in told if "read-only" in text]) == 2, "it is another episode"


@pytest.mark.slow
@pytest.mark.parametrize("ret_code", [pytest.param(33004, marks=pytest.mark.slow), 10016])
def test_flatten_halts_and_says_that_nothing_was_closed_where_the_account_cannot_be_opened(
    venue: RunningExchange,  # noqa: F811
    ledger: Database,  # noqa: F811
    account: Exchange,  # noqa: F811
    ret_code: int,
) -> None:
    put_signal(ledger, account)
    assert _once().success and len(account.positions()) == 1
    runtime._exchange.cache_clear()
    _refuse(venue, ret_code)
    result = _flatten()
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert said is not None and said.startswith("trading is HALTED, but nothing was closed, look at the exchange: ")
    assert str(ret_code) in said
    assert states(ledger) == [(RiskState.HALTED, "storm")]
    venue.faults.remove()
    assert len(account.positions()) == 1
    assert _flatten().success and list(account.positions()) == []


@pytest.mark.slow
def test_flatten_fails_and_names_what_is_left_where_the_exchange_refuses_to_close(
    venue: RunningExchange,  # noqa: F811
    ledger: Database,  # noqa: F811
    account: Exchange,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trading_assets.trading.execute.flatten.PASSES", 2)
    put_signal(ledger, account)
    assert _once().success
    venue.faults.add([FaultRule.model_validate({"where": "POST /v5/order/create", "ret_code": 110066})], venue.now_ms())
    result = _flatten()
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert said is not None and "not every position could be closed" in said and "SOLUSDT is still open" in said
    assert states(ledger) == [(RiskState.HALTED, "storm")]
