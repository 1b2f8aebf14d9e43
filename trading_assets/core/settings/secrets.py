"""Which settings are secret, and the text of those that are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from trading_assets.core.configuration import KEY_VARIABLES

if TYPE_CHECKING:
    pass

from trading_assets.core.settings.fields import Fields


def _is_secret(field: FieldInfo) -> bool:
    """Whether a field's values are secret: by its type, also inside a tuple."""
    kinds = [field.annotation]
    for kind in kinds:
        kinds += get_args(kind)
    return SecretStr in kinds


SECRET_SETTINGS = tuple(name for name, field in Fields.model_fields.items() if _is_secret(field))
"""Names of the settings whose values are shown as set or not set, and nowhere else."""


SECRET_NAMES = frozenset(SECRET_SETTINGS) | set(KEY_VARIABLES)


def secret_values(settings: Fields) -> set[str]:
    """The text of every secret that is set."""
    values = [getattr(settings, name) for name in SECRET_SETTINGS]
    flat = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    return {one.get_secret_value() for one in flat if one is not None}
