"""The keys of named accounts in the ledger: sealed, good for their own row alone, and sealed again under a new key."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from pydantic import SecretStr

from trading_assets.accounts import effective, master_keys, registry
from trading_assets.accounts.registry import AccountDraft
from trading_assets.accounts.sealing import Keys
from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, ConflictError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.exchange.keys import load_keys
from trading_assets.ledger import named_accounts
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import named_accounts as table

KEY, SECRET = "a-key-that-is-hidden", "a-secret-that-is-hidden"
BOTH = Keys(SecretStr(KEY), SecretStr(SECRET))


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one master key, which the settings name."""
    file = tmp_path / "keys" / "master"
    master_keys.put_first(file)
    monkeypatch.setenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM", f"file:{file}")
    return file


def add(database: Database, name: str = "second", keys: Keys | str | None = BOTH, venue: str = "demo") -> None:
    registry.add(database, load_settings(), AccountDraft(name, venue, keys, {}, {}), actor="a test", reason="to see")


def settings_of(database: Database, name: str = "second") -> Settings:
    return effective.settings_of(database, load_settings(), name)


@pytest.mark.usefixtures("master")
def test_the_keys_of_an_account_are_its_own_and_nowhere_in_clear(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", "of-the-main-account")
    monkeypatch.setenv("BYBIT_API_SECRET", "of-the-main-account-too")
    add(database)
    found = load_keys(settings_of(database), testnet=False)
    assert (found.key.get_secret_value(), found.secret.get_secret_value()) == (KEY, SECRET)
    main = effective.settings_of(database, load_settings())
    assert load_keys(main, testnet=False).key.get_secret_value() == "of-the-main-account"
    with database.read() as connection:
        rows = str([dict(row) for row in connection.execute(sa.select(table)).mappings()])
        row = named_accounts.read(connection, "second")
    for text in (rows, repr(row), repr(settings_of(database)), repr(BOTH)):
        assert KEY not in text and SECRET not in text
    if database.dialect == "sqlite":
        path = Path(str(database.url.database))
        written = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        assert KEY.encode() not in written and SECRET.encode() not in written


@pytest.mark.usefixtures("master")
def test_sealed_keys_that_are_copied_to_another_row_are_refused(database: Database) -> None:
    add(database)
    add(database, "third", Keys(SecretStr("another-key-of-third"), SecretStr("x")))
    with database.write() as connection:
        stolen = connection.execute(sa.select(table.c.sealed).where(table.c.name == "second")).scalar_one()
        connection.execute(sa.update(table).where(table.c.name == "third").values(sealed=stolen))
    with pytest.raises(ConfigurationError, match="are those of account 'second'"):
        settings_of(database, "third")
    assert effective.settings_of(database, load_settings(), "third", with_keys=False).api_key is None


def test_without_the_master_key_one_account_cannot_be_read_and_the_others_go_on(
    database: Database, master: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database)
    master.write_text(master_keys.new_key())
    with pytest.raises(ConfigurationError, match=r"sealed by master key \w{8}, and given are \w{8}.*rotate"):
        settings_of(database)
    assert effective.settings_of(database, load_settings()).account == "main"
    monkeypatch.delenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM")
    with pytest.raises(ConfigurationError, match="encryption new"):
        settings_of(database)
    with pytest.raises(ConfigurationError, match="no master key"):
        add(database, "third")


def test_a_new_master_key_takes_over_and_the_old_one_may_go(database: Database, master: Path) -> None:
    add(database)
    add(database, "third")
    old = master.read_text()
    master_keys.put_first(master)
    assert settings_of(database).api_key is not None, "the old key still opens"
    done = registry.reseal_all(database, load_settings())
    assert done.done == ("second", "third") and not done.unreadable
    assert registry.reseal_all(database, load_settings()).done == ()
    master.write_text(master.read_text().replace(old.strip(), ""))
    assert settings_of(database).api_key is not None
    master.write_text(old)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings_of(database)


def test_sealing_again_goes_on_where_one_account_cannot_be_read(database: Database, master: Path) -> None:
    add(database)
    first = master.read_text()
    master.write_text(master_keys.new_key())
    add(database, "third")
    master_keys.put_first(master)
    found = registry.reseal_all(database, load_settings())
    assert found.done == ("third",) and list(found.unreadable) == ["second"]
    master.write_text(master.read_text() + first)
    assert registry.reseal_all(database, load_settings()).done == ("second",)


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666])
def test_a_master_key_that_others_may_write_is_refused(database: Database, master: Path, mode: int) -> None:
    master.chmod(mode)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        add(database)


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o440, False), (0o444, True), (0o644, True)])
def test_a_master_key_is_taken_as_mounted_secrets_have_it(
    database: Database, master: Path, mode: int, is_told: bool
) -> None:
    master.chmod(mode)
    add(database)
    assert ("every user can read" in master_keys.exposed(load_settings())) is is_told


@pytest.mark.parametrize("where", ["aws:", "aws:a b", "aws:a,b,c,d", "aws:a,,b", "aws:näme"])
@pytest.mark.usefixtures("master")
def test_a_name_that_no_secret_can_have_is_refused_untried(database: Database, where: str) -> None:
    with pytest.raises(ConfigurationError, match="without blanks"):
        add(database, keys=where)


@pytest.mark.parametrize(
    "where", ["aws:team/grid_1", "aws:k,s", "aws:arn:aws:secretsmanager:eu-west-1:1:secret:n-Ab,s,t"]
)
def test_a_name_that_a_secret_can_have_is_kept(database: Database, where: str) -> None:
    add(database, keys=where)
    assert named_accounts.listed(database)[0].key_source == where


@pytest.mark.parametrize("text", ["open sesame", "", "c2hvcnQ=", "é"])
def test_a_master_key_that_is_none_is_refused_without_being_told(master: Path, text: str) -> None:
    master.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        master_keys.load(load_settings())
    assert not text or text not in str(raised.value)


def test_names_that_cannot_be_are_refused(database: Database, master: Path) -> None:
    assert master.exists()
    for name in ("main", "a b", "", "x" * 33, "../etc"):
        with pytest.raises(ConfigurationError):
            add(database, name)
    add(database)
    with pytest.raises(ConflictError, match="already"):
        add(database)
    with pytest.raises(ConfigurationError, match="ALLOW_MAINNET"):
        add(database, "third", venue="mainnet")
    with pytest.raises(ConfigurationError, match="needs keys"):
        add(database, "third", None)


def test_an_account_that_was_removed_has_no_keys_and_may_come_again(database: Database, master: Path) -> None:
    assert master.exists()
    add(database)
    base = load_settings()
    registry.remove(database, base, "second", actor="a test", reason="gone")
    with database.read() as connection:
        assert connection.execute(sa.select(table.c.sealed)).scalar_one() is None
    assert effective.names(database, base) == ["main"]
    with pytest.raises(ConfigurationError, match="no account 'second'"):
        settings_of(database)
    add(database)
    assert settings_of(database).api_key is not None


def test_keys_by_reference_are_read_where_they_are(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="not set"):
        add(database, keys="env:GRID_KEY,GRID_SECRET")
    with pytest.raises(ConfigurationError, match="taken for settings"):
        add(database, keys="env:BYBIT_API_KEY_2,BYBIT_API_SECRET_2")
    monkeypatch.setenv("GRID_KEY", KEY)
    monkeypatch.setenv("GRID_SECRET", SECRET)
    add(database, keys="env:GRID_KEY,GRID_SECRET")
    found = load_keys(settings_of(database), testnet=False)
    assert (found.key.get_secret_value(), found.secret.get_secret_value()) == (KEY, SECRET)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real HTTP endpoint that speaks AWS, reached by AWS's own variables."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "of-the-task",
        "AWS_SECRET_ACCESS_KEY": "of-the-task",
    }.items():
        monkeypatch.setenv(name, value)
    yield boto3
    server.stop()


@pytest.mark.slow
def test_the_three_separate_secrets_of_aws_are_read(aws: Any, sqlite: Database) -> None:
    manager = aws.client("secretsmanager")
    texts = {
        "crypto/bybit-api-key": KEY,
        "crypto/bybit-api-secret": f'{{"secret": "{SECRET}"}}',
        "crypto/testnet": "true",
    }
    for name, text in texts.items():
        manager.create_secret(Name=name, SecretString=text)
    add(sqlite, keys=f"aws:{','.join(texts)}", venue="testnet")
    found = load_keys(settings_of(sqlite), testnet=True)
    assert (found.key.get_secret_value(), found.secret.get_secret_value()) == (KEY, SECRET)
    with pytest.raises(ConfigurationError, match="testnet = true"):
        load_keys(settings_of(sqlite), testnet=False)


def test_the_master_key_may_be_with_aws(
    aws: Any, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms_key = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    file = tmp_path / "wrapped"
    master_keys.put_first(file, kms_key=kms_key)
    assert base64.b64decode(file.read_text())
    monkeypatch.setenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM", f"aws-kms:{file}")
    add(sqlite)
    assert settings_of(sqlite).api_key is not None
    aws.client("secretsmanager").create_secret(Name="master", SecretString=master_keys.new_key())
    monkeypatch.setenv("TRADING_ASSETS_ENCRYPTION_KEY_FROM", "aws-secret:master")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings_of(sqlite)
    add(sqlite, "third")
    assert settings_of(sqlite, "third").api_key is not None


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, arguments, input=given)


@pytest.mark.usefixtures("master")
def test_the_commands_take_keys_from_standard_input_and_never_show_them(tmp_path: Path) -> None:
    told = [
        run("accounts", "add", "second", "--venue", "demo", "--untested", given=f"{KEY}\n{SECRET}\n"),
        run("accounts", "list"),
        run("accounts", "show", "second"),
        run("accounts", "rotate", "second", "--untested", given=f"{KEY}2\n{SECRET}2\n"),
        run("accounts", "encryption", "new", str(tmp_path / "keys" / "master")),
        run("accounts", "encryption", "rotate"),
        run("accounts", "add", "second", "--venue", "demo", "--untested", given="only-a-key\n"),
        run("accounts", "test", "nobody"),
        run("accounts", "remove", "second", "--yes"),
        run("accounts", "list"),
    ]
    text = "\n".join(one.output + str(one.exception) for one in told)
    assert [one.exit_code for one in told] == [0, 0, 0, 0, 0, 0, 2, 1, 0, 0], text
    assert KEY not in text and SECRET not in text and "a-ke…dden" in told[1].output
    assert "is off" in told[0].output and "--account second" in told[0].output
    assert re.search(r"sealed again: second", told[5].output)
    assert "second" not in told[-1].output
