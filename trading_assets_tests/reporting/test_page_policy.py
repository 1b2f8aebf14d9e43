"""Every page that is written says which scripts it may run: its own, by their hashes, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

import trading_assets
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.reporting import page, strategy_page
from trading_assets.reporting.trade_chart import chart_page
from trading_assets_tests.reporting.fixtures import HOUR
from trading_assets_tests.reporting.made_reports import drawn_report
from trading_assets_tests.reporting.test_strategy_page import selected, trades
from trading_assets_tests.reporting.test_trade_chart import a_series, a_trade

PACKAGE = Path(trading_assets.__file__).parent
BY_HEADER = {"service/guard.py", "simulator/gateway.py"}
"""Pages of a server without any script: the log-in and an error; the guard's answers have the policy in a header."""


def require_policy(html: str) -> None:
    """The policy allows the scripts that are in the page and no others, and nothing from another place."""
    policies = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    assert len(policies) == 1 and html.index(policies[0]) < html.index("<title>")
    rules = dict(one.strip().split(" ", 1) for one in policies[0].split(";"))
    assert rules["default-src"] == "'none'" and rules["base-uri"] == "'none'" and rules["form-action"] == "'none'"
    found = re.findall(r"<script(?![^>]*application/json)[^>]*>(.*?)</script>", html, re.S)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in found]
    assert sorted(rules["script-src"].split()) == sorted(hashes or ["'none'"])
    assert "http" not in policies[0] and rules["img-src"] == "data: blob:"
    assert not re.search(r"<[a-z]+[^>]*\son[a-z]+=", re.sub(r"<script.*?</script>", "", html, flags=re.S))


def test_no_module_writes_a_page_without_a_policy() -> None:
    pages = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"<!DOCTYPE html|<html", path.read_text(encoding="utf-8"), re.IGNORECASE)
    }
    assert pages - BY_HEADER == {f"reporting/{name}.py" for name in ("markup", "trade_chart")}
    for name in BY_HEADER:
        assert "<script" not in (PACKAGE / name).read_text(encoding="utf-8")


def test_trades_on_candles_run_their_own_scripts_alone() -> None:
    series = a_series(300)
    require_policy(chart_page("</title><script>x</script>", [("a", "<!--")], [series], [a_trade(series, 10, 30)]).html)


@pytest.mark.slow
def test_reports_run_their_own_scripts_alone() -> None:
    require_policy(page.render(drawn_report()))
    require_policy(strategy_page.render("<script>x</script>", trades(), selected(), HOUR, HOUR + HOUR_MS))
