"""The account's API key: where it comes from, and what the venue must say of it. Only the connector holds it.

Its text leaves this package in signed requests alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from trading_assets.core.errors import ConfigurationError, MissingKeysError, UnusableKeyError
from trading_assets.core.models import ApiKeyInfo
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import PREFIX, Settings, Venue
from trading_assets.core.timeframes import DAY_MS, iso

_AWS = "aws:"
_AWS_TIMEOUT_S = 5.0
EXPIRES_SOON_MS = 7 * DAY_MS
_TRADES = (frozenset({"ContractTrade.Order", "ContractTrade.Position"}), frozenset({"Derivatives.DerivativesTrade"}))
_KEY, _SECRET, _TESTNET = "api_key", "api_secret", "testnet"


@dataclass(frozen=True)
class ApiKeys:
    """Key and secret. Neither is in its repr."""

    key: SecretStr
    secret: SecretStr

    @property
    def fingerprint(self) -> str:
        """Tells keys apart; the key cannot be had from it."""
        return hashlib.blake2b(self.key.get_secret_value().encode(), digest_size=6).hexdigest()

    def removed_from(self, text: str) -> str:
        """A text of the venue without the key: Bybit repeats it when a signature is wrong."""
        for secret in (self.key, self.secret):
            text = text.replace(secret.get_secret_value(), "(key)")
        return text


def load_keys(settings: Settings) -> ApiKeys:
    """The keys of a venue that needs them: from the environment, or from the manager that `secrets` names.

    Raises:
        MissingKeysError: one is absent.
        ConfigurationError: the manager cannot be asked, or holds the keys of another venue.
    """
    if settings.secrets is not None:
        return _of_secret(settings, _read_aws(settings.secrets.removeprefix(_AWS)))
    if settings.api_key is not None and settings.api_secret is not None:
        return ApiKeys(settings.api_key, settings.api_secret)
    found = {"BYBIT_API_KEY": settings.api_key, "BYBIT_API_SECRET": settings.api_secret}
    missing = [name for name, value in found.items() if value is None]
    raise MissingKeysError(
        f"venue {settings.venue.value} needs an API key, but {' and '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} not set. Create a key with trade permission at Bybit and put it into "
        f"the environment, .env or AWS Secrets Manager ({PREFIX}SECRETS), or set {PREFIX}VENUE=simulator to work "
        "without an account."
    )


@dataclass(frozen=True)
class KeyVerdict:
    """What is known of a key: a line to show, what forbids to trade with it, and what should be made better."""

    summary: str
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def judge_key(info: ApiKeyInfo | None, now_ms: int) -> KeyVerdict:
    """Whether a key may do what trading needs, and no more than that. No key's text is in the answer."""
    if info is None:
        return KeyVerdict("accepted; this venue does not tell its permissions", (), ())
    faults, warnings = [], []
    if info.read_only:
        faults.append("it is read-only: create one with read-write access")
    elif not any(wanted <= info.permissions for wanted in _TRADES):
        faults.append("it may not trade contracts: give it the permission Contract (Orders and Positions)")
    if info.expires_ms is not None and info.expires_ms <= now_ms:
        faults.append(f"it expired at {iso(info.expires_ms)}: create a new one")
    elif info.expires_ms is not None and info.expires_ms - now_ms < EXPIRES_SOON_MS:
        warnings.append(f"it expires at {iso(info.expires_ms)}: renew it, or bind it to an address")
    if not info.unified:
        faults.append("its account is not a unified account: upgrade the account at Bybit")
    if not info.addresses:
        warnings.append("it may be used from any address: restrict it to yours")
    if "Wallet.Withdraw" in info.permissions:
        warnings.append("it may withdraw: take that permission away, trading needs it never")
    expiry = iso(info.expires_ms) if info.expires_ms is not None else "never"
    summary = (
        f"{'read-only' if info.read_only else 'read-write'}, expires {expiry}, "
        f"addresses {', '.join(info.addresses) or 'any'}"
    )
    return KeyVerdict(summary, tuple(faults), tuple(warnings))


def require_trading_key(exchange: Exchange) -> KeyVerdict:
    """What the venue says of the key, before anything is traded with it.

    Raises:
        UnusableKeyError: the key may not trade; the message says why, and what to do.
        ExchangeError: the venue refuses the key, or cannot be asked.
    """
    verdict = judge_key(exchange.api_key(), exchange.now_ms())
    if verdict.faults:
        raise UnusableKeyError(f"the API key cannot be used: {'; '.join(verdict.faults)}")
    return verdict


def _of_secret(settings: Settings, secret: Mapping[str, object]) -> ApiKeys:
    """Fields `api_key`, `api_secret` and `testnet`, in any case and with or without `BYBIT_` before them."""
    fields = {name.lower().removeprefix("bybit_"): value for name, value in secret.items()}
    key, value = (str(fields.get(name) or "").strip() for name in (_KEY, _SECRET))
    if not (key and value):
        raise MissingKeysError(
            f"the secret {settings.secrets} has the fields {', '.join(sorted(secret)) or '(none)'}, expected {_KEY}, "
            f"{_SECRET} and {_TESTNET}"
        )
    told = fields.get(_TESTNET)
    testnet = settings.venue is Venue.TESTNET
    if told is not None and (str(told).lower() in ("true", "1", "yes")) is not testnet:
        raise ConfigurationError(
            f"the secret {settings.secrets} says {_TESTNET} = {told}, but the venue is {settings.venue.value}; set "
            f"{PREFIX}VENUE or name another secret"
        )
    return ApiKeys(SecretStr(key), SecretStr(value))


def _read_aws(name: str) -> Mapping[str, object]:
    """The JSON object of a secret. Region, role and endpoint come from AWS's own environment and files."""
    # 0.3 s, and most installations keep their keys elsewhere.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    retries = {"mode": "standard", "total_max_attempts": 3}
    patience = Config(connect_timeout=_AWS_TIMEOUT_S, read_timeout=_AWS_TIMEOUT_S, retries=retries)
    try:
        answer = boto3.client("secretsmanager", config=patience).get_secret_value(SecretId=name)
        secret = json.loads(answer.get("SecretString") or "")
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(
            f"AWS Secrets Manager did not give the secret {name!r}: {error}; check its name, the region and that the "
            "role may secretsmanager:GetSecretValue"
        ) from None
    except ValueError:
        secret = None
    if not isinstance(secret, dict):
        raise ConfigurationError(
            f"the secret {name!r} of AWS Secrets Manager is not a JSON object; expected {_KEY}, {_SECRET}, {_TESTNET}"
        )
    return secret
