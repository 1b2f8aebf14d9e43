"""Values by the setting's name, out of variables of environment or file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from trading_assets.core.configuration import KEY_VARIABLES, PREFIX

if TYPE_CHECKING:
    pass


class ByName(PydanticBaseSettingsSource):
    """Values by the setting's name, out of variables by theirs, which are in small letters."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """The value of a setting, and its name."""
        return self._variables.get(variable_of(field_name).lower()), field_name, False

    def __call__(self) -> dict[str, object]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def variable_of(name: str) -> str:
    """The variable of a setting."""
    keys = {"api_key": KEY_VARIABLES[0], "api_secret": KEY_VARIABLES[1]}
    return keys.get(name, f"{PREFIX}{name.upper()}")
