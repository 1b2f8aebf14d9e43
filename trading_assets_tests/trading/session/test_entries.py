"""Sending beside what else a session does."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from trading_assets.core.errors import LeaseLostError
from trading_assets.trading.execute.submit import SubmitReport
from trading_assets.trading.session import entries
from trading_assets.trading.session.entries import EntryPipeline
from trading_assets.trading.session.log import SessionLog


def pipeline() -> EntryPipeline:
    nothing: Any = None
    return EntryPipeline(nothing, nothing, "run", lambda _rows: nothing, lambda: nothing, SessionLog(lambda _one: None))


def test_books_wait_for_a_round_of_orders_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(_context: object) -> SubmitReport:
        began.set()
        assert go_on.wait(60)
        return SubmitReport()

    monkeypatch.setattr(entries, "submit_orders", slow)
    one = pipeline()
    assert one.wait_for_orders(0)
    sending = threading.Thread(target=one._submit)
    sending.start()
    assert began.wait(60) and not one.wait_for_orders(0.01)
    go_on.set()
    assert one.wait_for_orders(60)
    sending.join(60)


def test_a_round_that_fails_keeps_no_books_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_context: object) -> SubmitReport:
        raise LeaseLostError("another process has it")

    monkeypatch.setattr(entries, "submit_orders", fails)
    one = pipeline()
    with pytest.raises(LeaseLostError):
        one._submit()
    assert one.wait_for_orders(0)
