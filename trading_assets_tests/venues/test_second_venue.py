"""A second exchange is new files and one line: docs/howto/add_venue.md, carried out on a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trading_assets
from trading_assets_tests.test_howto import example

PAGE = "docs/howto/add_venue.md"
HERE = Path(__file__).parent
PACKAGE = Path(trading_assets.__file__).parent
LAST_LINE = '    MAINNET = "mainnet", "trading_assets.venues.bybit:MAINNET"\n'


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a copy of the package with the toy venue, as the page says."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "trading_assets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "toy", root / "trading_assets" / "venues" / "toy")
    (root / "trading_assets" / "venues" / "toy" / "__init__.py").write_text(
        example("docs/howto/add_venue.md", "adapter")
    )
    settings = root / "trading_assets" / "core" / "settings" / "venue.py"
    text = settings.read_text()
    assert text.count(LAST_LINE) == 1
    settings.write_text(text.replace(LAST_LINE, LAST_LINE + example(PAGE, "line")))
    return root


def run(copied: Path, home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(copied), str(HERE.parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "TRADING_ASSETS_HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=home, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_signal_is_traded_on_a_venue_with_other_words_ids_steps_and_coins(copied: Path, tmp_path: Path) -> None:
    done = run(
        copied, tmp_path, str(HERE / "trade_on_toy.py"), str(tmp_path),
        **{"TRADING_ASSETS_VENUE": "toy", "TRADING_ASSETS_ALLOW_MAINNET": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["key"] == "read-write, expires never, addresses 192.0.2.7"
    assert told["automation"] is False
    assert told["at first"] is True
    assert told["store"] == "candles/toy"
    assert told["scanned"] == ["ETH-USDC-SWAP", "SOL-USDC-SWAP"]
    assert told["dropped"] == {
        "not a perpetual": ["BTC-USDC-27MAR"],
        "position size cannot be expressed in lots": ["BTC-USDC-SWAP"],
    }
    assert told["candles"] == ["BTC-USDC-SWAP", "ETH-USDC-SWAP"]
    assert told["executed"] is True
    assert told["position"] == ["Buy", "0.05", "1980.0", "2040.0"]
    assert re.fullmatch(r"tae[0-9a-f]{26}", told["ids"][0])
    assert told["entry is known by its id"] is True
    assert (told["differences"], told["booked"]) == ([], ["ETH-USDC-SWAP"])
    assert told["ends"] == [["stop", True], ["liquidation", True], ["adl", True]]
    assert told["flattened"] == "1 closed (ETH-USDC-SWAP)"
    assert told["fills"] == ["adl", "liquidation", "trade"]


def test_the_new_venue_is_known_to_the_settings_and_behind_the_second_switch(copied: Path, tmp_path: Path) -> None:
    ask = "from trading_assets.core.settings import load_settings; load_settings()"
    refused = run(copied, tmp_path, "-c", ask, TRADING_ASSETS_VENUE="toy")
    assert "venue is toy (real money)" in refused.stderr
    unknown = run(copied, tmp_path, "-c", ask, TRADING_ASSETS_VENUE="toys")
    assert "'mainnet' or 'toy'" in unknown.stderr
