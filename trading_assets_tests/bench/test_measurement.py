"""What measurements through Dagster share: a module in a process of its own, in an environment of its own."""

from pathlib import Path

import pytest

from trading_assets.bench.measurement import FIRST_DAY, MAX_COINS, measured_environment, run_measured
from trading_assets.core.errors import StorageError

MODULE = """
import json, os, sys
if "7" in sys.argv:
    sys.exit("seven is too many")
print("on the way")
print(json.dumps({"given": sys.argv[1:], "folder": os.getcwd(), "coins": os.environ["TRADING_ASSETS_MAX_SYMBOLS"]}))
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "mainnet")
    monkeypatch.setenv("BYBIT_API_KEY", "somebody's")
    (tmp_path / "a_measurement.py").write_text(MODULE)
    return measured_environment(tmp_path, 3, 80)


def test_a_module_runs_in_the_home_and_its_last_line_is_the_report(environment: dict[str, str], tmp_path: Path) -> None:
    report = run_measured("a_measurement", 1, 2, environment=environment, timeout_s=300)
    assert report == {"given": ["1", "2"], "folder": str(tmp_path.resolve()), "coins": "3"}


def test_a_module_that_fails_is_told_with_its_last_words(environment: dict[str, str]) -> None:
    with pytest.raises(StorageError, match=r"a_measurement.*seven is too many"):
        run_measured("a_measurement", 7, environment=environment, timeout_s=300)


def test_the_environment_has_nothing_of_the_users_and_opens_the_filters_for_the_widest_market_alone(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ours = {name: value for name, value in environment.items() if name.startswith(("TRADING_ASSETS_", "BYBIT_"))}
    assert ours == {
        "TRADING_ASSETS_HOME": str(tmp_path),
        "TRADING_ASSETS_CONFIG": str(tmp_path / "trial.env"),
        "TRADING_ASSETS_SIMULATOR_SYMBOLS": "80",
        "TRADING_ASSETS_MAX_SYMBOLS": "3",
        "TRADING_ASSETS_PARTITIONS_START": FIRST_DAY,
    }
    assert measured_environment(tmp_path, 100, MAX_COINS)["TRADING_ASSETS_MIN_VOLUME_24H"] == "0"
