"""The values that a setting or a column takes, in words, from the constraints of pydantic and pandera."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_TEXTS = {
    "greater_than": "above {min_value}",
    "greater_than_or_equal_to": "at least {min_value}",
    "less_than": "below {max_value}",
    "less_than_or_equal_to": "at most {max_value}",
}


def describe_field(metadata: Iterable[object], annotation: object) -> str:
    """The constraints of a pydantic field in words; empty if its type says all.

    Args:
        metadata: objects of the `FieldInfo` with `gt`, `ge`, `lt`, `le` or `pattern`.
        annotation: type of the field; its literal or enumerated values are listed.
    """
    found: dict[str, Any] = {}
    for item in metadata:
        for name in ("gt", "ge", "lt", "le", "pattern"):
            value = getattr(item, name, None)
            if value is not None:
                found[name] = value
    parts = [_choices(annotation)] if _choices(annotation) else []
    if "ge" in found and "le" in found:
        parts.append(f"{found['ge']} to {found['le']}")
    else:
        parts += [f"above {found['gt']}"] if "gt" in found else []
        parts += [f"at least {found['ge']}"] if "ge" in found else []
        parts += [f"below {found['lt']}"] if "lt" in found else []
        parts += [f"at most {found['le']}"] if "le" in found else []
    parts += [f"matches `{found['pattern']}`"] if "pattern" in found else []
    return ", ".join(parts)


def describe_column(checks: Iterable[Any]) -> str:
    """The checks of a pandera column in words; a check that is unknown here by pandera's own text."""
    found = {str(check.name): dict(check.statistics) for check in checks}
    low, high = found.get("greater_than_or_equal_to"), found.get("less_than_or_equal_to")
    parts = []
    if low is not None and high is not None:
        parts.append(f"{low['min_value']} to {high['max_value']}")
        del found["greater_than_or_equal_to"], found["less_than_or_equal_to"]
    for check in checks:
        name = str(check.name)
        if name not in found:
            continue
        statistics = found[name]
        if name in _TEXTS:
            parts.append(_TEXTS[name].format_map(statistics))
        elif name == "isin":
            parts.append(", ".join(map(str, statistics["allowed_values"])))
        elif name == "str_matches":
            parts.append(f"matches `{_pattern(statistics['pattern'])}`")
        elif name == "str_length" and statistics.get("min_value") == 1:
            parts.append("not empty")
        else:
            parts.append(str(check.error or name))
    return ", ".join(parts)


def _pattern(pattern: object) -> str:
    return pattern.pattern if isinstance(pattern, re.Pattern) else str(pattern)


def _choices(annotation: Any) -> str:
    """Values of a literal or an enumeration, inside an optional type as well."""
    members = getattr(annotation, "__members__", None)
    if members is not None:
        return ", ".join(str(member.value) for member in members.values())
    arguments = getattr(annotation, "__args__", ())
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return ", ".join(arguments)
    return ", ".join(filter(None, map(_choices, arguments)))
