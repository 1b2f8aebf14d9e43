"""Settings out of environment and file, with one clear message for what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from trading_assets.core import configuration
from trading_assets.core.configuration import PREFIX, Given
from trading_assets.core.errors import ConfigurationError

if TYPE_CHECKING:
    pass

from trading_assets.core.settings.model import Settings, fault

RENAMED: Mapping[str, str] = {"keep_looks_days": "keep_evaluations_days"}
"""Settings by their former names, which still work and warn."""


_ESSENTIAL = ("home", "database_url", "venue", "allow_mainnet", "account", "api_key", "api_secret", "secrets")
"""Settings that say whose account and which books are meant: nothing goes on without a good value of these."""


def load_settings(*, lenient: bool = False, **overrides: object) -> Settings:
    """Settings from overrides, environment and configuration file, in this order.

    Args:
        lenient: for what stops, closes or only looks, and must not be held up by a typing error. Unknown names, and
            malformed values of settings that do not say whose account is meant, warn instead.

    Raises:
        ConfigurationError: a value is malformed, a name is unknown, or a setting is there under two names with two
            values; the message names each variable, what was found and expected.
    """
    given = Given.read()
    fields = Settings.model_fields
    unprefixed, contradictions = configuration.unprefixed(given, fields)
    faults = [*configuration.strangers(given, fields, RENAMED), *contradictions]
    if faults and not lenient:
        raise ConfigurationError(f"{'; '.join(faults)}. Nothing was started")
    for text in (*faults, *configuration.ignored(given)):
        warnings.warn(text, UserWarning, stacklevel=2)
    values = unprefixed | _renamed(given.both, lenient=lenient) | overrides
    file = given.path if given.path is not None and given.path.is_file() else None
    while True:
        try:
            return Settings(_env_file=file, **values)  # type: ignore[arg-type]
        except ValidationError as error:
            message = f"malformed setting: {'; '.join(fault(item) for item in error.errors(include_url=False))}"
            malformed = {str(item["loc"][0]) if item["loc"] else "" for item in error.errors(include_url=False)}
            if not lenient or not malformed <= fields.keys() - set(_ESSENTIAL) - overrides.keys():
                raise ConfigurationError(message) from None
            warnings.warn(f"{message}. The default is taken", UserWarning, stacklevel=2)
            values |= {name: fields[name].get_default(call_default_factory=True) for name in malformed}


def _renamed(given: Mapping[str, str], *, lenient: bool) -> dict[str, object]:
    """Values that are given under a setting's former name only."""
    found: dict[str, object] = {}
    for former, name in RENAMED.items():
        old, new = (f"{PREFIX}{each.upper()}" for each in (former, name))
        if old not in given:
            continue
        if given.get(new, given[old]) != given[old]:
            text = (
                f"{old} is {given[old]!r} and {new} is {given[new]!r}, expected one value: {old} is the former name of "
                f"{new}, remove it"
            )
            if not lenient:
                raise ConfigurationError(text)
            warnings.warn(text, UserWarning, stacklevel=3)
            continue
        warnings.warn(f"{old} is now {new}: rename it", FutureWarning, stacklevel=3)
        if new not in given:
            found[name] = given[old]
    return found
