"""Keys: where they come from, what is asked of them, and that nobody sees them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import PKCS1_v1_5

from trading_assets.core.errors import ConfigurationError, ExchangeFatalError, MissingKeysError, UnusableKeyError
from trading_assets.core.models import ApiKeyInfo
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.keys import load_keys
from trading_assets.exchange.transport import Transport
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.venues import open_exchange
from trading_assets.venues.embedded import account_keys
from trading_assets.venues.keys import judge_key, require_trading_key
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.conftest import Connect
from trading_assets_tests.exchange.stub import KEY, SECRET, Stub, envelope, keys_of
from trading_assets_tests.simulator.fake_market import FakeMarket

NOW_MS = 1_772_413_200_000
NAME = "crypto-backtest/bybit"


@pytest.fixture(scope="module")
def aws_url() -> Iterator[str]:
    """A real HTTP endpoint that speaks AWS."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty Secrets Manager, reached as an installation reaches it: by AWS's own variables."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "of-the-task",
        "AWS_SECRET_ACCESS_KEY": "of-the-task",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager")
    yield client
    for secret in client.list_secrets()["SecretList"]:
        client.delete_secret(SecretId=secret["Name"], ForceDeleteWithoutRecovery=True)


def store(aws: Any, secret: object) -> None:
    aws.create_secret(Name=NAME, SecretString=secret if isinstance(secret, str) else json.dumps(secret))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("venue", "secret"),
    [
        ("mainnet", {"api_key": KEY, "api_secret": SECRET, "testnet": False}),
        ("testnet", {"api_key": KEY, "api_secret": SECRET, "testnet": True}),
        ("demo", {"api_key": KEY, "api_secret": SECRET}),
        ("testnet", {"BYBIT_API_KEY": KEY, "BYBIT_API_SECRET": SECRET, "BYBIT_TESTNET": "true"}),
    ],
)
def test_keys_come_from_aws_by_one_setting(aws: Any, venue: str, secret: dict[str, object]) -> None:
    store(aws, secret)
    keys = load_keys(load_settings(venue=venue, secrets=f"aws:{NAME}", allow_mainnet=True), testnet=venue == "testnet")
    assert (keys.key.get_secret_value(), keys.secret.get_secret_value()) == (KEY, SECRET)
    assert KEY not in repr(keys) + str(keys) + keys.fingerprint
    assert SECRET not in repr(keys) + str(keys)


@pytest.mark.parametrize(
    ("secret", "error", "says"),
    [
        (None, ConfigurationError, "did not give the secret 'crypto-backtest/bybit'.*GetSecretValue"),
        (f"{KEY}:{SECRET}", ConfigurationError, "not a JSON object"),
        (["a", "b"], ConfigurationError, "not a JSON object"),
        ({"api_key": KEY}, MissingKeysError, "has the fields api_key, expected api_key, api_secret"),
        ({"api_key": KEY, "api_secret": " "}, MissingKeysError, "expected api_key, api_secret"),
        ({"api_key": KEY, "api_secret": SECRET, "testnet": True}, ConfigurationError, "the venue is mainnet"),
    ],
)
def test_a_secret_that_cannot_be_used_is_named_without_its_text(
    aws: Any, secret: object, error: type[Exception], says: str
) -> None:
    if secret is not None:
        store(aws, secret)
    with pytest.raises(error, match=says) as raised:
        load_keys(load_settings(venue="mainnet", allow_mainnet=True, secrets=f"aws:{NAME}"), testnet=False)
    assert KEY not in str(raised.value) and SECRET not in str(raised.value)


def test_an_aws_that_cannot_be_reached_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="AWS Secrets Manager did not give"):
        load_keys(load_settings(venue="demo", secrets=f"aws:{NAME}"), testnet=False)


def test_the_simulator_never_sees_the_users_keys() -> None:
    with serve_in_thread(ServeConfig(), FakeMarket()) as running:
        exchange = open_exchange(load_settings(simulator_url=running.url, api_key=KEY, api_secret=SECRET))
        assert exchange._transport._connection.keys == account_keys()  # type: ignore[attr-defined]
        exchange.close()


@pytest.fixture(scope="module")
def pem() -> str:
    """A private RSA key, as its holder has it."""
    return str(RSA.generate(2048).export_key().decode())


@pytest.mark.parametrize("written", ["as a file", "in one line", "with spaces around"])
def test_a_private_rsa_key_signs(pem: str, written: str) -> None:
    text = {"as a file": pem, "in one line": pem.replace("\n", "\\n"), "with spaces around": f"\n {pem} \n"}[written]
    keys = load_keys(load_settings(venue="demo", api_key=KEY, api_secret=text), testnet=False)
    assert keys.is_rsa
    signed = base64.b64decode(keys.signature("GET/realtime1"))
    PKCS1_v1_5.new(RSA.import_key(pem).public_key()).verify(SHA256.new(b"GET/realtime1"), signed)
    assert "PRIVATE" not in repr(keys)


def test_a_private_rsa_key_is_read_from_a_file_of_variables(
    pem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_CONFIG", str(tmp_path / "mine.env"))
    line = pem.replace("\n", "\\n")
    for quote in ("", '"', "'"):
        (tmp_path / "mine.env").write_text(f"BYBIT_API_KEY={KEY}\nBYBIT_API_SECRET={quote}{line}{quote}\n")
        keys = load_keys(load_settings(venue="demo"), testnet=False)
        assert keys.secret.get_secret_value() == pem.strip()


def test_requests_are_signed_with_a_private_rsa_key(pem: str, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[requests.PreparedRequest] = []
    send = requests.Session.send

    def keep(session: requests.Session, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        sent.append(request)
        return send(session, request, **given)

    monkeypatch.setattr(requests.Session, "send", keep)
    stub.answer(envelope({"list": [venue_rows.wallet()]}))
    transport = Transport(Connection(url=stub.url, keys=keys_of(KEY, pem)), limited=False)
    BybitExchange(transport, virtual_clock=True).wallet()
    headers = sent[0].headers
    text = f"{headers['X-BAPI-TIMESTAMP']}{KEY}{headers['X-BAPI-RECV-WINDOW']}accountType=UNIFIED"
    verifier = PKCS1_v1_5.new(RSA.import_key(pem).public_key())
    verifier.verify(SHA256.new(text.encode()), base64.b64decode(headers["X-BAPI-SIGN"]))


@pytest.mark.parametrize("cut", [200, 1_000])
def test_a_private_rsa_key_that_cannot_be_read_is_named_without_its_text(pem: str, cut: int) -> None:
    broken = load_settings(venue="demo", api_key=KEY, api_secret=pem[:cut])
    with pytest.raises(ConfigurationError, match="private RSA key") as raised:
        load_keys(broken, testnet=False)
    assert pem[40:60] not in str(raised.value)


GOOD = ApiKeyInfo(
    read_only=False,
    may_withdraw=False,
    addresses=("192.0.2.7",),
    expires_ms=None,
)


def test_a_good_key_has_neither_faults_nor_warnings() -> None:
    verdict = judge_key(GOOD, NOW_MS)
    assert (verdict.faults, verdict.warnings) == ((), ())
    assert verdict.summary == "read-write, expires never, addresses 192.0.2.7"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"read_only": True}, "read-only"),
        ({"faults": ("it may not trade contracts",)}, "may not trade contracts"),
        ({"expires_ms": NOW_MS - 1}, "expired at 2026-03-02"),
    ],
)
def test_a_key_that_cannot_trade_says_why(changes: dict[str, object], fault: str) -> None:
    [found] = judge_key(ApiKeyInfo(**{**vars(GOOD), **changes}), NOW_MS).faults  # type: ignore[arg-type]
    assert fault in found


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"addresses": ()}, "any address"),
        ({"expires_ms": NOW_MS + 3 * DAY_MS}, "expires at 2026-03-05"),
        ({"may_withdraw": True}, "may withdraw"),
    ],
)
def test_a_key_that_could_be_safer_says_how(changes: dict[str, object], warning: str) -> None:
    verdict = judge_key(ApiKeyInfo(**{**vars(GOOD), **changes}), NOW_MS)  # type: ignore[arg-type]
    assert not verdict.faults
    [found] = verdict.warnings
    assert warning in found


def test_demo_trading_does_not_tell_and_is_trusted(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope(code=10032, message="Demo trading are not supported."))
    assert "does not tell" in require_trading_key(connect(virtual_clock=False)).summary


def test_a_key_that_the_venue_refuses_is_fatal(stub: Stub, connect: Connect) -> None:
    stub.answer(envelope(code=10010, message="Unmatched IP, please check your API key's bound IP addresses."))
    with pytest.raises(ExchangeFatalError, match="Unmatched IP"):
        require_trading_key(connect())


def test_a_read_only_key_is_told_before_anything_is_traded(stub: Stub, connect: Connect) -> None:
    row = {"readOnly": 1, "permissions": {"ContractTrade": []}, "ips": ["*"], "uta": 1}
    stub.answer(envelope(row | {"expiredAt": "2099-01-01T00:00:00Z"}))
    exchange = connect()
    exchange.now_ms = lambda: NOW_MS  # type: ignore[method-assign]
    with pytest.raises(UnusableKeyError, match="read-only"):
        require_trading_key(exchange)


def test_the_embedded_exchange_gives_a_key_that_may_trade(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_in_thread(ServeConfig(), FakeMarket()) as running:
        exchange = open_exchange(load_settings(simulator_url=running.url))
        assert require_trading_key(exchange).faults == ()
        exchange.close()
