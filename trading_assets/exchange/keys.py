"""The account's API key and where it comes from. Its text leaves this package in signed requests only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pybit._http_manager import generate_signature
from pydantic import SecretStr

from trading_assets.core import aws
from trading_assets.core.configuration import Given
from trading_assets.core.errors import ConfigurationError, MissingKeysError
from trading_assets.core.secret_text import know
from trading_assets.core.settings import PREFIX, Settings

_ENV = "env"
_KEY, _SECRET, _TESTNET = "api_key", "api_secret", "testnet"


@dataclass(frozen=True)
class ApiKeys:
    """Key and secret. Neither is in its repr.

    Raises:
        ConfigurationError: the secret begins like a private RSA key, and is none that can be read.
    """

    key: SecretStr
    secret: SecretStr

    def __post_init__(self) -> None:
        know(self.key.get_secret_value(), self.secret.get_secret_value())
        if not self.is_rsa:
            return
        # In a file of variables a line's end is written as backslash and n.
        lines = self.secret.get_secret_value().replace("\\n", "\n").strip()
        object.__setattr__(self, "secret", SecretStr(lines))
        try:
            self.signature("")
        except (IndexError, TypeError, ValueError):
            raise ConfigurationError(
                "BYBIT_API_SECRET begins like a private RSA key, but cannot be read as one (PEM, without a password); "
                "its lines may be written with \\n between them"
            ) from None

    @property
    def is_rsa(self) -> bool:
        """Whether the secret is a private RSA key (PEM) of the account's holder, and not one that Bybit has made."""
        return self.secret.get_secret_value().lstrip().startswith("-----BEGIN")

    def signature(self, text: str) -> str:
        """Sign a text as Bybit wants it: HMAC-SHA256 in hex, or RSA in base64."""
        return str(generate_signature(self.is_rsa, self.secret.get_secret_value(), text))

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without giving them away."""
        return hashlib.blake2b(self.key.get_secret_value().encode(), digest_size=6).hexdigest()

    def removed_from(self, text: str) -> str:
        """The text with the key taken out: Bybit repeats it when a signature is wrong."""
        for secret in (self.key, self.secret):
            text = text.replace(secret.get_secret_value(), "(key)")
        return text


def load_keys(settings: Settings, *, testnet: bool) -> ApiKeys:
    """The keys of a venue that needs them: from the environment, or from the manager that `secrets` names.

    Args:
        testnet: whether they must be a testnet's; a secret says of which kind its keys are.

    Raises:
        MissingKeysError: one is absent.
        ConfigurationError: the manager cannot be asked, or holds the keys of another venue.
    """
    if settings.secrets is not None:
        kind, _, names = settings.secrets.partition(":")
        read = _read_environment if kind == _ENV else _read_aws
        return _keys_in(read(names), settings, testnet=testnet)
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


def _keys_in(secret: Mapping[str, object], settings: Settings, *, testnet: bool) -> ApiKeys:
    """The keys in a secret's fields `api_key`, `api_secret` and `testnet`.

    Field names are read in any case, and with or without `BYBIT_` before them.
    """
    fields = {name.lower().removeprefix("bybit_"): value for name, value in secret.items()}
    key, value = (str(fields.get(name) or "").strip() for name in (_KEY, _SECRET))
    if not (key and value):
        found = sorted(name for name, text in secret.items() if text)
        raise MissingKeysError(
            f"the secret {settings.secrets} has the fields {', '.join(found) or '(none)'}, expected {_KEY}, "
            f"{_SECRET} and {_TESTNET}"
        )
    told = fields.get(_TESTNET)
    if told is not None and (str(told).lower() in ("true", "1", "yes")) is not testnet:
        raise ConfigurationError(
            f"the secret {settings.secrets} says {_TESTNET} = {told}, but the venue is {settings.venue.value}; set "
            f"{PREFIX}VENUE or name another secret"
        )
    return ApiKeys(SecretStr(key), SecretStr(value))


def _read_environment(names: str) -> Mapping[str, object]:
    """Key and secret from two variables of the environment, or of the configuration file."""
    given = Given.read().both
    return {field: given.get(name.upper(), "") for field, name in zip((_KEY, _SECRET), names.split(","), strict=True)}


def _read_aws(names: str) -> Mapping[str, object]:
    """The JSON object of a secret, or the texts of three secrets, each with one of the fields."""
    if "," in names:
        fields = zip((_KEY, _SECRET, _TESTNET), names.split(","), strict=False)
        return {field: _one_text(aws.secret_text(name.strip())) for field, name in fields}
    try:
        secret = json.loads(aws.secret_text(names))
    except ValueError:
        secret = None
    if not isinstance(secret, dict):
        raise ConfigurationError(
            f"the secret {names!r} of AWS Secrets Manager is not a JSON object; expected {_KEY}, {_SECRET}, {_TESTNET}"
        )
    return secret


def _one_text(text: str) -> str:
    """The text of a secret; where it is a JSON object of one field, as the console makes it, that field's."""
    try:
        found = json.loads(text)
    except ValueError:
        return text.strip()
    return str(next(iter(found.values()))) if isinstance(found, dict) and len(found) == 1 else text.strip()
