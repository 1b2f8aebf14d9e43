"""Every fault of the exchange at every call of an order comes out as `docs/order_saga.md` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.saga import resting_matrix
from trading_assets_tests.trading.saga.fault_matrix import (
    FAULTS,
    READS,
    SYMBOLS,
    WRITES,
    TwoCoins,
    for_read,
    run_cell,
    run_together,
    told_by,
)

PAGE = Path(__file__).parents[3] / "docs" / "order_saga.md"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), TwoCoins()) as exchange:
        yield exchange


@pytest.mark.slow
def test_every_fault_at_every_call_comes_out_as_the_page_says(running: RunningExchange, sqlite: Database) -> None:
    wanted = [(call, fault) for call in WRITES for fault in FAULTS]
    wanted += [(call, fault) for call in READS for fault in FAULTS if for_read(fault)]
    cells = {}
    for number, (call, fault) in enumerate(wanted):
        cells[call, fault] = run_cell(running, sqlite, f"cell-{number}", call, fault)
    assert all(cell.creates <= 3 for cell in cells.values())
    sent_again = {fault for (call, fault), cell in cells.items() if call == "create" and cell.creates > 1}
    assert {fault.partition(",")[0] for fault in sent_again} == {"10002 clock", "10006 too many", "address banned"}
    told = told_by(PAGE.read_text())
    assert {place: str(cell) for place, cell in cells.items()} == {place: told[place] for place in cells}
    assert {told[place] for place in told.keys() - cells.keys()} == {"as before"}


REFUSED_AS_A_WHOLE = "110007 no margin, before"
"""Then each goes by itself, and meets no fault."""


@pytest.mark.slow
def test_every_fault_of_a_request_of_many_orders_comes_out_for_each_as_if_it_were_its_own(
    running: RunningExchange, sqlite: Database
) -> None:
    told = told_by(PAGE.read_text())
    for number, fault in enumerate(FAULTS):
        found = run_together(running, sqlite, f"together-{number}", fault)
        expected = "executed" if fault == REFUSED_AS_A_WHOLE else told["create", fault]
        assert found.outcomes == (expected,) * len(SYMBOLS), fault
        assert found.creates == (len(SYMBOLS) if fault == REFUSED_AS_A_WHOLE else 0), fault
        is_unseen = fault.partition(",")[0] in ("10002 clock", "10006 too many", "address banned")
        assert found.batches <= (3 if is_unseen else 1), f"what may have been placed was sent again after {fault}"


@pytest.mark.slow
def test_every_fault_at_every_call_of_an_order_that_waits_comes_out_as_the_page_says(running: RunningExchange) -> None:
    cells = {}
    for call in resting_matrix.CALLS:
        for fault in FAULTS:
            cells[call, fault] = resting_matrix.run_cell(running, f"waits-{len(cells)}", call, fault)
    for (call, fault), cell in cells.items():
        assert cell.requests <= 2, (call, fault, cell)
        if call.startswith("create") and cell.requests > 1:
            assert not FAULTS[fault].get("processed"), f"what opens was sent again after {fault}"
    assert {place: str(cell) for place, cell in cells.items()} == resting_matrix.told_by(PAGE.read_text())
