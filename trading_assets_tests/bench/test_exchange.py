"""The measures of the exchange are taken, add up and are printed; they are not judged here."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from trading_assets.cli.bench import bench


@pytest.mark.slow
def test_every_kind_of_request_is_measured_and_answered() -> None:
    result = CliRunner().invoke(
        bench,
        ["exchange", "--requests", "40", "--connections", "2", "--symbols", "3", "--stream-seconds", "0.5", "--json"],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    names = [measure["name"] for measure in report["measures"]]
    assert names[0] == "order create" and "tickers, 3 symbols" in names and len(names) == len(set(names)) == 9
    for measure in report["measures"]:
        assert measure["failed"] == 0 and measure["requests"] == 40, measure
        assert measure["per_second"] > 0 and 0 < measure["p50_ms"] <= measure["p99_ms"]
    calm, hasty = report["streams"]
    assert (calm["speed"], hasty["speed"]) == (1.0, 10_000.0)
    for stream in (calm, hasty):
        assert stream["topics"] > 9 and stream["per_second"] > 0 and stream["server_load"] > 0, stream


@pytest.mark.slow
def test_the_fuzz_command_prints_its_report_and_ends_well() -> None:
    result = CliRunner().invoke(bench, ["fuzz", "--requests", "30", "--seed", "5", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["requests"] == 30 == report["accepted"] + report["refused"] and report["findings"] == []
    assert "30 requests" in CliRunner().invoke(bench, ["fuzz", "--requests", "30"]).output
