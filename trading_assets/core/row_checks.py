"""Rows held against a pandera model by plain comparisons: microseconds a row, where pandera takes tens of milliseconds.

The comparisons are made from the model's own columns and checks, so that there is one list of rules. They are for rows
that an order waits for; the report of a check, with the values that fail, is pandera's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandera.pandas as pa

_Test = Callable[[Any], bool]


def _length(given: Mapping[str, Any]) -> _Test:
    least, most, exact = (given.get(name) for name in ("min_value", "max_value", "exact_value"))
    return lambda value: (
        (least is None or len(value) >= least)
        and (most is None or len(value) <= most)
        and (exact is None or len(value) == exact)
    )


def _among(given: Mapping[str, Any]) -> _Test:
    allowed = frozenset(given["allowed_values"])
    return lambda value: value in allowed


def _matches(given: Mapping[str, Any]) -> _Test:
    pattern = re.compile(given["pattern"])
    return lambda value: pattern.match(value) is not None


_TESTS: Mapping[str, Callable[[Mapping[str, Any]], _Test]] = {
    "greater_than": lambda given: lambda value: value > given["min_value"],
    "greater_than_or_equal_to": lambda given: lambda value: value >= given["min_value"],
    "less_than": lambda given: lambda value: value < given["max_value"],
    "less_than_or_equal_to": lambda given: lambda value: value <= given["max_value"],
    "isin": _among,
    "str_length": _length,
    "str_matches": _matches,
}
"""pandera's name of a check, and the comparison that it stands for."""

_TYPES: Mapping[str, tuple[type, ...]] = {"i": (int,), "f": (int, float)}
"""What a value of a column of numbers may be, by the kind of its type; of every other column a text."""


@dataclass(frozen=True)
class _Column:
    name: str
    types: tuple[type, ...]
    is_nullable: bool
    tests: tuple[tuple[str, _Test], ...]

    def fault(self, value: object) -> str | None:
        if value is None or value != value:  # noqa: PLR0124 (NaN)
            return None if self.is_nullable else "has no value"
        if not isinstance(value, self.types) or isinstance(value, bool):
            return f"is {type(value).__name__}"
        return next((f"is not {name}" for name, test in self.tests if not test(value)), None)


class PlainChecks:
    """The columns and checks of a model.

    Raises:
        TypeError: the model has a check that has no plain form here.
    """

    def __init__(self, model: type[pa.DataFrameModel], dtypes: Mapping[str, Any]) -> None:
        schema = model.to_schema()
        if schema.checks:
            raise TypeError(f"{schema.name}: a check of whole rows has no plain form")
        self._columns = [
            _Column(
                name=str(name),
                types=_TYPES.get(getattr(dtypes[str(name)], "kind", ""), (str,)),
                is_nullable=bool(column.nullable),
                tests=tuple((str(check.name), _plain(schema.name, check)) for check in column.checks),
            )
            for name, column in schema.columns.items()
        ]
        self._names = frozenset(column.name for column in self._columns)
        one_by_one = [(str(name),) for name, column in schema.columns.items() if column.unique]
        self._unique = [*one_by_one, *([tuple(schema.unique)] if schema.unique else [])]

    def faults(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """What is wrong with rows that are of one table; empty where they keep its schema."""
        found = [fault for row in rows for fault in self._faults(row)]
        for names in self._unique:
            counts = Counter(tuple(row.get(name) for name in names) for row in rows)
            found += [f"{', '.join(names)} is there {count} times" for count in counts.values() if count > 1]
        return found

    def _faults(self, row: Mapping[str, Any]) -> Iterable[str]:
        if row.keys() != self._names:
            yield f"its columns differ: {sorted(row.keys() ^ self._names)}"
            return
        for column in self._columns:
            fault = column.fault(row[column.name])
            if fault is not None:
                yield f"{column.name} {fault}"


def _plain(table: object, check: pa.Check) -> _Test:
    make = _TESTS.get(str(check.name))
    if make is None:
        raise TypeError(f"{table}: the check {check.name} has no plain form: add it to {__name__}")
    return make(check.statistics or {})
