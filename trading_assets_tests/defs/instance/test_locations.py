"""Switches of schedules and sensors belong to a code location's name: `doctor` finds those of another one."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)

from trading_assets.cli.doctor.dagster_instance import LOCATION, check_locations
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME of an instance."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return tmp_path


def switch_on(home: Path, location: str) -> None:
    """A sensor is switched on in a code location of this name, as the UI does it."""
    server = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=9, location_name=location)
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(server, "__repository__"), "trade_when_candles_close")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_instigator_state(
            InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
        )


@pytest.mark.slow
def test_switches_of_the_one_location_are_in_order(home: Path) -> None:
    assert check_locations(load_settings()) == f"every switch belongs to {LOCATION}"
    switch_on(home, LOCATION)
    assert check_locations(load_settings()) == f"every switch belongs to {LOCATION}"


@pytest.mark.slow
def test_switches_of_another_location_are_found_with_what_to_do(home: Path) -> None:
    switch_on(home, LOCATION)
    switch_on(home, "definitions.py")
    with pytest.raises(ConfigurationError, match=r"the code location definitions\.py, expected .* -w workspace\.yaml"):
        check_locations(load_settings())


def test_without_an_instance_there_are_no_switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no Dagster instance is here" in check_locations(load_settings())


def test_an_instance_that_cannot_be_opened_is_found(home: Path) -> None:
    (home / "dagster.yaml").write_text("run_storage: [")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        check_locations(load_settings())


def test_the_projects_own_workspaces_name_the_one_location() -> None:
    """Every guide starts Dagster with one of these files, so their switches are the same ones."""
    root = Path(__file__).resolve().parents[3]
    for name in ("workspace.yaml", "deploy/workspace.yaml", "dagster_cloud.yaml"):
        assert f"location_name: {LOCATION}" in (root / name).read_text(), name
