"""What a read of a list gives: rows, and those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class UnreadableRow:
    """A row of a list that cannot be read. `symbol` is None where not even that could be."""

    symbol: str | None
    why: str


class Rows(tuple[_Row, ...]):
    """What a list read gives: the rows that can be read, each once, and those that cannot.

    Attributes:
        unreadable: rows left out; their symbols are to be left alone, and told.
    """

    unreadable: tuple[UnreadableRow, ...]

    def __new__(cls, rows: Iterable[_Row] = (), unreadable: Iterable[UnreadableRow] = ()) -> Self:
        made = super().__new__(cls, tuple(rows))
        made.unreadable = tuple(unreadable)
        return made

    def may_hide(self, symbol: str) -> bool:
        """Whether a row of the symbol may be among those that cannot be read: then its absence says nothing."""
        return any(row.symbol in (None, symbol) for row in self.unreadable)
