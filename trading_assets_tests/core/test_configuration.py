"""Which file is read, which names are known, and the environment of a trial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trading_assets.core import configuration
from trading_assets.core.configuration import config_file, trial_environment
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import Settings, Venue, load_settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file of this test."""
    path = tmp_path / "mine.env"
    path.touch()
    monkeypatch.setenv("TRADING_ASSETS_CONFIG", str(path))
    return path


def test_the_file_is_that_of_the_home_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere, named = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "named.env"
    for folder in (home, elsewhere):
        folder.mkdir()
        (folder / ".env").write_text(f"TRADING_ASSETS_ACCOUNT={folder.name}\n")
    monkeypatch.delenv("TRADING_ASSETS_CONFIG")
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(home))
    for place in (home, elsewhere, Path("/")):
        monkeypatch.chdir(place)
        assert config_file() == home / ".env"
        assert load_settings().account == "home"
    named.write_text("TRADING_ASSETS_ACCOUNT=named\n")
    monkeypatch.setenv("TRADING_ASSETS_CONFIG", str(named))
    assert load_settings().account == "named"
    named.unlink()
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load_settings(lenient=True)


def test_without_a_file_in_the_home_it_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "checkout", lambda: tmp_path)
    given = {"TRADING_ASSETS_HOME": str(tmp_path / "home")}
    assert config_file(given) is None
    (tmp_path / ".env").touch()
    assert config_file(given) == tmp_path / ".env"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRADING_ASSETS_VENEU", "TRADING_ASSETS_VENUE"),
        ("trading_assets_veneu", "TRADING_ASSETS_VENUE"),
        ("TRADING_ASSET_VENUE", "TRADING_ASSETS_VENUE"),
        ("TRADING_ASSETS_MAX_LEVERAGES", "TRADING_ASSETS_MAX_LEVERAGE"),
        ("TRADING_ASSETS_API_KEY", ""),
        ("BYBIT_APIKEY", "BYBIT_API_KEY"),
        ("BYBIT_SECRET", "BYBIT_API_SECRET"),
        ("BYBT_API_KEY", "BYBIT_API_KEY"),
        ("BYIBT_API_SECRET", "BYBIT_API_SECRET"),
        ("TRADING_ASSETS_SOMETHING_QUITE_DIFFERENT", "trading-assets settings"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_name_that_nothing_reads_is_told(
    name: str, meant: str, where: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "file":
        file.write_text(f"{name}=mainnet\n")
    else:
        monkeypatch.setenv(name, "mainnet")
    with pytest.raises(ConfigurationError, match=f"{name.upper()} in .* is no setting.*{meant}"):
        load_settings()
    with pytest.warns(UserWarning, match=f"{name.upper()} in .* is no setting.*{meant}"):
        assert load_settings(lenient=True).venue is Venue.SIMULATOR


def test_names_of_other_programs_are_not_ours(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("AWS_REGION=eu-west-1\nDAGSTER_HOME=/x\n")
    monkeypatch.setenv("BYBIT_ANALYTICS_FOLDER", "/x")
    monkeypatch.setenv("ASSETS", "/x")
    for name in ("BITGET_API_KEY", "BINANCE_API_SECRET", "BITFINEX_API_KEY", "BINGX_API_SECRET", "API_KEY"):
        monkeypatch.setenv(name, "of-another")
    load_settings()


@pytest.mark.parametrize("where", ["environment", "file"])
def test_the_keys_of_another_program_are_not_sent_to_the_exchange(
    where: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("bybit_api_secret", "ours")
    for name in ("API_KEY", "API_SECRET", "api_key", "home", "VENUE"):
        if where == "file":
            file.write_text(f"{file.read_text()}{name}=of-another\n")
        else:
            monkeypatch.setenv(name, "of-another")
    found = load_settings()
    assert found.api_key is None
    assert found.api_secret is not None and found.api_secret.get_secret_value() == "ours"


def test_what_is_given_goes_before_the_environment_and_that_before_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("TRADING_ASSETS_ACCOUNT", "BYBIT_API_KEY")
    file.write_text("".join(f"{name}=file\n" for name in names))

    def found(**given: object) -> set[str]:
        settings = load_settings(**given)
        assert settings.api_key is not None
        return {settings.account, settings.api_key.get_secret_value()}

    assert found() == {"file"}
    for name in names:
        monkeypatch.setenv(name, "environment")
    assert found() == {"environment"}
    assert found(account="given", api_key="given") == {"given"}


def test_a_malformed_value_holds_up_no_brake_unless_it_says_whose_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_LEVERAGE", "ten")
    with pytest.raises(ConfigurationError, match="LEVERAGE"):
        load_settings()
    with pytest.warns(UserWarning, match="LEVERAGE.*default is taken"):
        assert load_settings(lenient=True).leverage == 10
    monkeypatch.setenv("TRADING_ASSETS_NOTIFY_URLS", "tgram://hidden/42")
    with pytest.warns(UserWarning, match="NOTIFY_URLS: is no JSON") as warned:
        assert load_settings(lenient=True).notify_urls == ()
    assert "hidden" not in " ".join(str(one.message) for one in warned)
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "mianet")
    with pytest.raises(ConfigurationError, match="VENUE"):
        load_settings(lenient=True)


def test_names_without_prefix_are_read_from_the_file_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERAGE", "50")
    with pytest.warns(UserWarning, match="LEVERAGE in the environment is not read"):
        assert load_settings().leverage == 10
    monkeypatch.delenv("LEVERAGE")
    file.write_text("LEVERAGE=5\nPOSITION_SIZE=20\nMIN_VOLUME_24H=3\nMIN_VOLATILITY=4\nBYBIT_TESTNET=true\n")
    read = load_settings()
    assert (read.leverage, read.position_size, read.min_volume_24h, read.min_volatility) == (5, 20, 3.0, 4.0)
    assert read.venue is Venue.TESTNET
    assert load_settings(leverage=3).leverage == 3


@pytest.mark.parametrize(
    "given",
    [
        "LEVERAGE=5\nTRADING_ASSETS_LEVERAGE=6",
        "BYBIT_TESTNET=true\nTRADING_ASSETS_VENUE=demo",
        "BYBIT_TESTNET=false\nTRADING_ASSETS_VENUE=testnet",
    ],
)
def test_two_names_with_two_values_are_an_error(file: Path, given: str) -> None:
    file.write_text(given)
    with pytest.raises(ConfigurationError, match="remove one of them"):
        load_settings()
    file.write_text("LEVERAGE=5\nTRADING_ASSETS_LEVERAGE=5.0\n")
    assert load_settings().leverage == 5


def test_a_testnet_that_is_meant_but_not_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_TESTNET", "true")
    with pytest.raises(ConfigurationError, match="TRADING_ASSETS_VENUE=testnet"):
        load_settings()
    monkeypatch.setenv("TRADING_ASSETS_VENUE", "testnet")
    load_settings()


def everything_exported(folder: Path) -> dict[str, str]:
    """Every name that means something to us, in both cases."""
    names = [f"TRADING_ASSETS_{name.upper()}" for name in Settings.model_fields]
    names += [*configuration.OTHER_VARIABLES, *configuration.KEY_VARIABLES, *configuration.UNPREFIXED, "BYBIT_TESTNET"]
    names += ["DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "TRADING_ASSETS_VENEU", "BYBIT_APIKEY"]
    return {each: str(folder / "real") for name in names for each in (name, name.lower())}


def test_a_trial_is_given_nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = everything_exported(tmp_path)
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in user.items()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configuration, "checkout", lambda: tmp_path)
    clean = trial_environment(tmp_path / "trial", {"ACCOUNT": "trial"}, {"PATH": "/bin", **user})
    assert not [value for value in clean.values() if value == str(tmp_path / "real")]
    before = dict(os.environ)
    configuration.enter({"PATH": "/bin", **user})
    try:
        with configuration.trial(tmp_path / "trial", {"ACCOUNT": "trial"}):
            assert load_settings() == Settings(_env_file=None, home=tmp_path / "trial", account="trial")
        assert {**os.environ} == {"PATH": "/bin", **user}
    finally:
        configuration.enter(before)
