"""Where settings come from: which file is read, which names are known, and an environment without any of them.

No values are parsed here; `core.settings` does that.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.private_files import private_folder

PREFIX = "TRADING_ASSETS_"
CONFIG_VARIABLE, HOME_VARIABLE = f"{PREFIX}CONFIG", f"{PREFIX}HOME"
ENV_FILE = ".env"
KEY_VARIABLES = ("BYBIT_API_KEY", "BYBIT_API_SECRET")
TESTNET_VARIABLE = "BYBIT_TESTNET"

OTHER_VARIABLES = (CONFIG_VARIABLE, f"{PREFIX}BROKER_URL", f"{PREFIX}SHARED")
"""Names with our prefix that are no settings: the file, the broker of Celery workers, recorded data of the tests."""

UNPREFIXED: Mapping[str, str] = {
    name.upper(): name
    for name in (
        "position_size",
        "leverage",
        "min_volume_24h",
        "min_volatility",
        "min_win_rate",
        "min_pnl",
        "min_trades",
        "dynamodb_scan_table",
        "dynamodb_backtest_table",
        "dynamodb_positions_table",
    )
}
"""Names by which other programs know these settings. They are read from our own file only: in the environment they may
be meant for another program."""

_OURS = (PREFIX, "BYBIT_", "DAGSTER")
_NEAR = 0.8
_NEAR_ENOUGH_TO_BE_MEANT = 0.87


def checkout() -> Path | None:
    """The checkout that this program runs from; None where the package is installed elsewhere."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def default_home() -> Path:
    """`.trading_assets` in the checkout, or in the user's home where the package is installed elsewhere."""
    return (checkout() or Path.home()) / ".trading_assets"


def config_file(environment: Mapping[str, str] | None = None) -> Path | None:
    """The file of settings: the one that `TRADING_ASSETS_CONFIG` names, else `.env` in the home, else in the checkout.

    The current directory plays no part: one configuration, wherever one stands.

    Raises:
        ConfigurationError: the file that is named does not exist.
    """
    given = _upper(os.environ if environment is None else environment)
    named = given.get(CONFIG_VARIABLE, "").strip()
    if named:
        path = Path(named).expanduser().resolve()
        if not path.exists():
            raise ConfigurationError(f"{CONFIG_VARIABLE} is {named!r}, and there is no such file")
        return path
    home = Path(given.get(HOME_VARIABLE, "").strip() or default_home()).expanduser().resolve()
    folders = [home, *filter(None, [checkout()])]
    return next((folder / ENV_FILE for folder in folders if (folder / ENV_FILE).is_file()), None)


@dataclass(frozen=True)
class Given:
    """What is set, by name in capitals: in the process environment, and in the configuration file."""

    environment: Mapping[str, str]
    file: Mapping[str, str]
    path: Path | None

    @classmethod
    def read(cls) -> Given:
        """
        Raises:
            ConfigurationError: the file that is named does not exist.
        """
        path = config_file()
        in_file = dotenv_values(path) if path is not None else {}
        return cls(_upper(os.environ), _upper({name: value or "" for name, value in in_file.items()}), path)

    @property
    def both(self) -> Mapping[str, str]:
        """The environment wins."""
        return {**self.file, **self.environment}


def strangers(given: Given, fields: Iterable[str], former: Iterable[str]) -> list[str]:
    """One sentence for each name that is ours or meant for us, and that nothing reads.

    Args:
        fields, former: names of settings, and names that they had once.
    """
    fields = set(fields)
    known = {f"{PREFIX}{name.upper()}" for name in fields | set(former)} - {f"{PREFIX}API_KEY", f"{PREFIX}API_SECRET"}
    known |= set(OTHER_VARIABLES) | set(KEY_VARIABLES)
    read_from_file = {name for name, field in UNPREFIXED.items() if field in fields} | {TESTNET_VARIABLE}
    found = []
    for name in sorted(given.both):
        if name in known or (name in given.file and name in read_from_file):
            continue
        where = f"{given.path}" if name in given.file else "the environment"
        if name == TESTNET_VARIABLE:
            if _is_true(given.environment[name]) and given.both.get(f"{PREFIX}VENUE", "").lower() != "testnet":
                found.append(f"{name} in the environment is not read: set {PREFIX}VENUE=testnet")
        elif (
            name.startswith((PREFIX, "BYBIT_"))
            or _nearest(name, KEY_VARIABLES, _NEAR_ENOUGH_TO_BE_MEANT)
            or (
                any(part in name for part in ("TRADING", "ASSET", "BYBIT"))
                and _nearest(name, known, _NEAR_ENOUGH_TO_BE_MEANT)
            )
        ):
            suggested = _nearest(name, known, _NEAR)
            meant = (
                f"did you mean {suggested}?" if suggested else f"trading-assets settings lists the names of {PREFIX}"
            )
            if name.startswith((PREFIX, *KEY_VARIABLES)) or suggested:
                found.append(f"{name} in {where} is no setting: {meant}")
        elif name in given.file and (name in UNPREFIXED or _nearest(name, UNPREFIXED, _NEAR_ENOUGH_TO_BE_MEANT)):
            suggested = _nearest(name, read_from_file, _NEAR)
            meant = f"did you mean {suggested}?" if suggested else "this version has no such setting"
            found.append(f"{name} in {where} is no setting: {meant}")
    return found


def ignored(given: Given) -> list[str]:
    """One sentence for each name of another program's in the environment that would be read from our file."""
    return [
        f"{name} in the environment is not read, it may be meant for another program: set {PREFIX}{name}, or {name} in "
        "the configuration file"
        for name in sorted(UNPREFIXED.keys() & given.environment.keys())
        if f"{PREFIX}{name}" not in given.both and name not in given.file
    ]


def unprefixed(given: Given, fields: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Values of the file's unprefixed names by setting, and a sentence for each that contradicts a prefixed one."""
    found, contradictions = dict[str, str](), list[str]()
    meant = {name: (field, given.file[name]) for name, field in UNPREFIXED.items() if name in given.file}
    if _is_true(given.file.get(TESTNET_VARIABLE, "")):
        meant[TESTNET_VARIABLE] = ("venue", "testnet")
    elif TESTNET_VARIABLE in given.file and given.both.get(f"{PREFIX}VENUE", "").lower() == "testnet":
        contradictions.append(
            f"{TESTNET_VARIABLE} is {given.file[TESTNET_VARIABLE]!r} and {PREFIX}VENUE is 'testnet': remove one of them"
        )
    known = set(fields)
    for name, (field, value) in meant.items():
        if field not in known:
            continue
        variable = f"{PREFIX}{field.upper()}"
        other = given.both.get(variable)
        if other is None:
            found[field] = value
        elif not _equal(other, value):
            contradictions.append(
                f"{name} in {given.path} is {given.file[name]!r} and {variable} is {other!r}: remove one of them"
            )
    return found, contradictions


def trial_environment(
    home: Path, values: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a trial, a measurement, the demo or a test: none of the user's settings, and no file of them.

    Every name of ours is gone in whatever case, and the configuration file is an empty one in `home`.

    Args:
        values: the trial's own settings, by name without prefix; `HOME` is `home` unless given.
        environment: what to begin with; that of this process by default.
    """
    begin = os.environ if environment is None else environment
    names = {*UNPREFIXED, TESTNET_VARIABLE}
    kept = {
        name: value for name, value in begin.items() if not name.upper().startswith(_OURS) and name.upper() not in names
    }
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    private_folder(home)
    empty = home / "trial.env"
    empty.touch(mode=0o600)
    own = {f"{PREFIX}{name}": str(value) for name, value in {"HOME": home, **values}.items()}
    return {**kept, "XDG_STATE_HOME": str(home / "state"), CONFIG_VARIABLE: str(empty), **own}


def enter(environment: Mapping[str, str]) -> None:
    """Make an environment that of this process."""
    os.environ.clear()
    os.environ.update(environment)


@contextmanager
def trial(home: Path, values: Mapping[str, object] | None = None) -> Iterator[None]:
    """This process is in the environment of a trial, see `trial_environment`, for the block."""
    before = dict(os.environ)
    enter(trial_environment(home, values or {}))
    try:
        yield
    finally:
        enter(before)


def _upper(given: Mapping[str, str]) -> dict[str, str]:
    return {name.upper(): value for name, value in given.items()}


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str:
    bare = {one.replace("_", ""): one for one in sorted(known)}
    found = difflib.get_close_matches(name.replace("_", ""), bare, 1, cutoff)
    return bare[found[0]] if found else ""


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on", "y", "t")


def _equal(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().lower() == other.strip().lower()
