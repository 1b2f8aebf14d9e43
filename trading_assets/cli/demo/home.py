"""The demo's own directory and environment: made anew at each start, never another one's. No market here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trading_assets.core.configuration import default_home, enter, trial_environment
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import Settings, load_settings

_MARKER = "this-is-a-demo"

COINS = 30
"""The demo keeps fewer coins of its scan than the default, so that six hours of them fit into a coffee break."""


def prepare_home(home: Path | None) -> Settings:
    """Empty the demo's directory and point settings and Dagster of this process at it.

    Raises:
        ConfigurationError: the directory holds something that is not a demo's, or cannot be written.
    """
    home = (home or default_home() / "demo").expanduser().resolve()
    if home.exists() and not home.is_dir():
        raise ConfigurationError(f"{home} is a file; choose a directory with --home, nothing was touched")
    if home.exists() and any(home.iterdir()) and not (home / _MARKER).exists():
        raise ConfigurationError(
            f"{home} is not empty and not a demo's directory; choose an empty one with --home, nothing was touched"
        )
    shutil.rmtree(home, ignore_errors=True)
    dagster_home = home / "dagster"
    try:
        dagster_home.mkdir(parents=True)
        (home / _MARKER).touch()
        (dagster_home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    except OSError as error:
        raise ConfigurationError(
            f"{home} cannot be written: {error.strerror}; free some space or choose another directory with --home"
        ) from error
    # The demo is the same everywhere: the user's own settings must not reach it. It moves the clock by hand and looks
    # after each step.
    enter(trial_environment(home, {"MAX_SYMBOLS": COINS, "TRADE_MODE": "once"}))
    os.environ["DAGSTER_HOME"] = str(dagster_home)
    os.chdir(home)
    return load_settings()
