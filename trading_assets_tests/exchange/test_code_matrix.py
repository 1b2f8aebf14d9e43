"""Every code of the table at every call comes out as docs/exchange_codes.md says."""

from __future__ import annotations

import pytest

from trading_assets.exchange.error_mapping import CODES, ErrorKind, kind_of_code
from trading_assets_tests.exchange.code_matrix import PAGE, READ, answers, measured, table, told
from trading_assets_tests.exchange.stub import Stub


@pytest.mark.slow
def test_every_answer_at_every_call_comes_out_as_the_page_says(stub: Stub) -> None:
    cells = measured(stub, answers())
    assert table(cells) == told(PAGE.read_text())
    sent = {place: int(cell.rpartition(" ")[2]) for place, cell in cells.items()}
    assert {sent[place] for place in sent if place[1] == "place_order"} == {1}, "an order is sent once"
    assert {cell for (_, name), cell in cells.items() if name == "place_order" and "done" in cell} == set()
    reads = {cell for (answer, name), cell in cells.items() if name in READ and "done" in cell}
    assert reads == {"done, 1", "done, 2"}, "only those that the table of exceptions names"


def test_an_unknown_code_is_ambiguous_whatever_its_text_says() -> None:
    for code in (987_654, -1, 0x7FFFFFFF, 3_400_999):
        assert code not in CODES
        assert kind_of_code(code, "StopLoss should lower than base_price") is ErrorKind.AMBIGUOUS


def test_only_a_text_about_the_price_is_about_the_price() -> None:
    for code, kind in CODES.items():
        assert (kind is ErrorKind.PRICE) == (code in (110092, 110093))
