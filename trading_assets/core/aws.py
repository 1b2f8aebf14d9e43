"""What is read from AWS. Region, role and endpoint come from AWS's own environment and files."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from trading_assets.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT_S = 5.0


def secret_text(name: str) -> str:
    """Return the text of a secret of AWS Secrets Manager; empty where it is binary.

    Raises:
        ConfigurationError: it cannot be had.
    """
    return str(
        _ask("secretsmanager", lambda aws: aws.get_secret_value(SecretId=name), _why_secret(name)).get("SecretString")
        or ""
    )


def decrypted(blob: bytes, context: dict[str, str]) -> bytes:
    """Let AWS KMS decrypt what it has encrypted in the same context.

    Raises:
        ConfigurationError: it does not.
    """
    why = "AWS KMS did not decrypt the master key", "check the region and that the role may kms:Decrypt"
    return bytes(_ask("kms", lambda aws: aws.decrypt(CiphertextBlob=blob, EncryptionContext=context), why)["Plaintext"])


def encrypted(key_id: str, text: bytes, context: dict[str, str]) -> bytes:
    """Let AWS KMS encrypt under a key.

    Raises:
        ConfigurationError: it does not.
    """
    why = "AWS KMS did not encrypt the master key", "check the key's name, the region and that the role may kms:Encrypt"
    given = {"KeyId": key_id, "Plaintext": text, "EncryptionContext": context}
    return bytes(_ask("kms", lambda aws: aws.encrypt(**given), why)["CiphertextBlob"])


def _why_secret(name: str) -> tuple[str, str]:
    return (
        f"AWS Secrets Manager did not give the secret {name!r}",
        "check its name, the region and that the role may secretsmanager:GetSecretValue",
    )


def _ask(service: str, call: Callable[[Any], dict[str, Any]], why: tuple[str, str]) -> dict[str, Any]:
    # 0.3 s, and most installations keep their secrets elsewhere.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it prints the secret
    retries: Any = {"mode": "standard", "total_max_attempts": 3}
    patience = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries=retries)
    try:
        return call(boto3.client(service, config=patience))
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(f"{why[0]}: {error}; {why[1]}") from None
