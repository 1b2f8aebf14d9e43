"""Whose rules are known: of hours that were scanned by the list of their own time, and of no others."""

from __future__ import annotations

import pandas as pd

from trading_assets.core.schemas import MARKET_SCAN, RULES_ASSUMED, RULES_KNOWN
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import contract_rules
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets_tests.ledger.test_partitions import scan_rows

FIRST = 500_000 * HOUR_MS


def scanned(hour: int, *coins: tuple[str, str | None, str | None]) -> pd.DataFrame:
    """Rows of an hour: symbol, whether its rules are known, and their digest."""
    rows = scan_rows(FIRST + hour * HOUR_MS, *[symbol for symbol, _, _ in coins])
    return rows.assign(contract_rules=[rules for _, rules, _ in coins], rules_digest=[digest for _, _, digest in coins])


def test_rules_are_known_where_the_list_of_that_time_told_them(database: Database) -> None:
    hours = [
        scanned(0, ("AUSDT", RULES_KNOWN, "a0"), ("BUSDT", RULES_ASSUMED, "b0")),
        scanned(1, ("AUSDT", RULES_KNOWN, "a1"), ("BUSDT", RULES_KNOWN, None)),  # of a version without the digest
        scanned(2, ("AUSDT", None, None), ("BUSDT", RULES_KNOWN, "b2")),
        scanned(3, ("AUSDT", RULES_KNOWN, "a3")),
    ]
    asked = [FIRST + hour * HOUR_MS for hour in range(4)]
    for hour_ms, rows in zip(asked, hours, strict=True):
        replace_partitions(database, MARKET_SCAN, rows, [hour_ms])
    assert contract_rules.known(database, asked) == {
        (asked[0], "AUSDT"): "a0",
        (asked[1], "AUSDT"): "a1",
        (asked[2], "BUSDT"): "b2",
        (asked[3], "AUSDT"): "a3",
    }
    assert contract_rules.known(database, asked[1:2]) == {(asked[1], "AUSDT"): "a1"}
    assert contract_rules.known(database, [FIRST - HOUR_MS]) == {}
    assert contract_rules.known(database, []) == {}


def test_a_scan_anew_forgets_what_the_one_before_knew(database: Database) -> None:
    for rules, found in ((RULES_KNOWN, {(FIRST, "AUSDT"): "a"}), (RULES_ASSUMED, {})):
        replace_partitions(database, MARKET_SCAN, scanned(0, ("AUSDT", rules, "a")), [FIRST])
        assert contract_rules.known(database, [FIRST]) == found
