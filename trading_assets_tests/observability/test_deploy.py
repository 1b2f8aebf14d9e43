"""What `deploy/observability` holds is valid, fires for its cause, and names nothing that is not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS
from trading_assets.ledger.database import Database
from trading_assets.observability import alarms
from trading_assets.observability.metrics import registry
from trading_assets.service.dagster_runs import metrics_of

FOLDER = Path(__file__).parents[2] / "deploy" / "observability"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboard.json").read_text())
_NAME = re.compile(r"\b(trading_assets_[a-z_]+|orders_created_total|active_positions|order_creation_latency_[a-z_]+)")
_ENDINGS = re.compile(r"_(total|bucket|sum|count)$")


def tool(name: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; on Debian: apt-get install prometheus prometheus-alertmanager")
    return subprocess.run([path, *arguments], input=text or None, capture_output=True, text=True, check=False)


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "rules", "rules.yml"],
        ["promtool", "check", "config", "prometheus.yml"],
        ["promtool", "test", "rules", "rules_test.yml"],
        ["amtool", "check-config", "alertmanager.yml"],
    ],
    ids=" ".join,
)
def test_prometheus_own_tools_find_nothing(command: list[str]) -> None:
    done = tool(*command[:-1], str(FOLDER / command[-1]))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_is_watched_with_and_without_prometheus() -> None:
    outside = {"MonitorDown", "LedgerDown", "Watchdog"}
    assert {rule["alert"] for rule in rules()} == {*alarms.RULES, alarms.API_ERRORS} | outside


def test_bounds_are_the_same_with_and_without_prometheus() -> None:
    by_name = {rule["alert"]: rule["expr"] for rule in rules()}
    bounds = {
        "books_old": alarms.BOOKS_AGE_S,
        "drawdown_near": alarms.DRAWDOWN_SHARE,
        "backlog": alarms.BACKLOG,
        "disk_low": alarms.DISK_FREE,
        "outbox_stuck": alarms.OUTBOX_AGE_S,
        "mirror_stuck": alarms.MIRROR_AGE_S,
        "stream_silent": alarms.STREAM_SILENT_S,
        "api_errors": alarms.ERROR_SHARE,
        "key_expires": alarms.KEY_EXPIRES_MS / DAY_MS,
        "certificate_expires": alarms.CERTIFICATE_EXPIRES_MS / DAY_MS,
    }
    for name, bound in bounds.items():
        assert re.search(rf"(?<![\d.]){bound:g}(?![\d.])", by_name[name]), (name, bound)


def test_rules_and_dashboard_name_metrics_that_there_are(sqlite: Database) -> None:
    found = registry(Settings(_env_file=None), lambda: sqlite)
    there = {metric.name for metric in found.collect()} | {metric.name for metric in metrics_of([])}
    named = {name for text in [*expressions(), *(rule["expr"] for rule in rules())] for name in _NAME.findall(text)}
    assert len(named) > 25
    assert {_ENDINGS.sub("", name) for name in named} <= there


def test_every_expression_of_the_dashboard_is_one(tmp_path: Path) -> None:
    """A rules file made of them is checked: what Grafana fills in is a label's value."""
    made = [
        {"record": f"panel:{number}", "expr": text.replace("$account", ".+")}
        for number, text in enumerate(expressions())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    done = tool("promtool", "check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_ids_of_their_own_and_the_source_of_whoever_imports_it() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) and len(ids) > 20
    sources = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert sources == {"${DS_PROMETHEUS}"}


def test_the_text_is_what_promtool_wants(sqlite: Database) -> None:
    """Names as the sources have them give remarks; a malformed text is an error."""
    done = tool(
        "promtool",
        "check",
        "metrics",
        text=generate_latest(registry(Settings(_env_file=None), lambda: sqlite)).decode(),
    )
    remarks = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert done.returncode in (0, 3) and not [line for line in remarks if line.startswith("error")], remarks
    assert [line for line in remarks if "trading_assets_" in line] == []


def test_the_page_has_every_alarm() -> None:
    page = (FOLDER.parents[1] / "docs" / "howto" / "observe.md").read_text()
    table = page.partition("<!-- alarms: begin -->")[2].partition("<!-- alarms: end -->")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == {*alarms.RULES, alarms.API_ERRORS}
