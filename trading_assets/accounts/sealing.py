"""The keys of a named account, sealed: encrypted, and good for that account alone. Pure but for the master keys."""

from __future__ import annotations

import json
from dataclasses import dataclass

from cryptography.fernet import InvalidToken
from pydantic import SecretStr

from trading_assets.accounts.master_keys import MasterKeys
from trading_assets.core.errors import ConfigurationError
from trading_assets.ledger.named_accounts import NamedAccount

_SHOWN = 4
_SHORTEST_TO_SHOW = 12


@dataclass(frozen=True)
class Keys:
    """API key and secret of an account. Neither is in its repr."""

    key: SecretStr
    secret: SecretStr

    @property
    def hint(self) -> str:
        """Beginning and end of the key, to tell it by; of a short one nothing."""
        text = self.key.get_secret_value()
        return f"{text[:_SHOWN]}…{text[-_SHOWN:]}" if len(text) >= _SHORTEST_TO_SHOW else "…"


def seal(keys: Keys, name: str, venue: str, masters: MasterKeys) -> str:
    """Encrypt the keys with the name of their account inside: copied to another row they are refused."""
    text = {
        "account": name,
        "venue": venue,
        "api_key": keys.key.get_secret_value(),
        "api_secret": keys.secret.get_secret_value(),
    }
    return masters.seal(json.dumps(text).encode())


def opened(account: NamedAccount, masters: MasterKeys) -> Keys:
    """Decrypt the keys of an account.

    Raises:
        ConfigurationError: the master key is another one, or the row is not as it was sealed.
    """
    try:
        found = json.loads(masters.open(account.sealed or ""))
        owner, keys = (
            (found["account"], found["venue"]),
            Keys(SecretStr(found["api_key"]), SecretStr(found["api_secret"])),
        )
    except (InvalidToken, ValueError, KeyError, TypeError):
        known = account.sealed_by in masters.names
        why = (
            "the row was changed since"
            if known
            else f"they were sealed by master key {account.sealed_by}, and given are {', '.join(masters.names)}: give "
            "that one, too (after a comma, or as a further line of the file)"
        )
        raise ConfigurationError(
            f"the keys of account {account.name!r} cannot be read: {why}. Where it is lost for good, store new keys: "
            f"trading-assets accounts rotate {account.name}"
        ) from None
    if owner != (account.name, account.venue):
        raise ConfigurationError(
            f"the keys in the row of account {account.name!r} ({account.venue}) are those of account {owner[0]!r} "
            f"({owner[1]}): somebody has changed the ledger. Nothing was done with them"
        )
    return keys
