"""Fault rules from a file or a request body, with one clear message for what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from trading_assets.core.errors import ConfigurationError
from trading_assets.simulator.faults.rules import FaultRule

Endpoint = tuple[str, str]
"""(method, path)"""


def parse_rules(value: object, endpoints: Iterable[Endpoint]) -> tuple[FaultRule, ...]:
    """Rules of one rule, a list of them, or `{"faults": [...]}`.

    Raises:
        ValueError: malformed, or a rule that no endpoint can ever meet.
    """
    if isinstance(value, dict) and value.keys() == {"faults"}:
        value = value["faults"]
    items = value if isinstance(value, list) else [value]
    served = tuple(endpoints)
    return tuple(_rule(item, number, served) for number, item in enumerate(items, 1))


def read_rules(path: Path, endpoints: Iterable[Endpoint]) -> tuple[FaultRule, ...]:
    """Rules of a JSON or YAML file.

    Raises:
        ConfigurationError: it cannot be read, or what it says is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return parse_rules(value if value is not None else [], endpoints)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the fault rules in {path} cannot be used: {error}") from None


def _rule(item: object, number: int, endpoints: tuple[Endpoint, ...]) -> FaultRule:
    if not isinstance(item, dict):
        raise ValueError(f"rule {number}: expected an object with where and a fault, found {item!r:.60}")
    try:
        rule = FaultRule.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        found = "" if isinstance(first["input"], dict) else f", found {first['input']!r:.60}"
        raise ValueError(f"rule {number}{f', {place}' if place else ''}: {message}{found}") from None
    if not rule.is_for_messages and not any(rule.covers(method, path) for method, path in endpoints):
        raise ValueError(f"rule {number}, where: no endpoint of this exchange fits {rule.where!r}")
    return rule
