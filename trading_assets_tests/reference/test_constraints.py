"""Constraints in words."""

from enum import StrEnum
from typing import Literal

import pandera.pandas as pa
import pytest
from pydantic import BaseModel, Field

from trading_assets.reference import constraints, markdown


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Fields(BaseModel):
    plain: str = ""
    positive: float = Field(1.0, gt=0)
    share: float | None = Field(None, ge=0, le=1)
    below: int = Field(1, ge=0, lt=10)
    word: str = Field("a", pattern="^[a-z]+$")
    choice: Literal["a", "b"] | None = None
    colour: Colour = Colour.RED


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plain", ""),
        ("positive", "above 0"),
        ("share", "0 to 1"),
        ("below", "at least 0, below 10"),
        ("word", "matches `^[a-z]+$`"),
        ("choice", "a, b"),
        ("colour", "red, blue"),
    ],
)
def test_a_setting(name: str, words: str) -> None:
    field = Fields.model_fields[name]
    assert constraints.describe_field(field.metadata, field.annotation) == words


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([], ""),
        ([pa.Check.gt(0)], "above 0"),
        ([pa.Check.ge(0), pa.Check.le(100)], "0 to 100"),
        ([pa.Check.le(0)], "at most 0"),
        ([pa.Check.isin(["a", "b"])], "a, b"),
        ([pa.Check.str_matches("^x$")], "matches `^x$`"),
        ([pa.Check.str_length(min_value=1)], "not empty"),
        ([pa.Check.str_length(max_value=5)], "str_length(None, 5)"),
        ([pa.Check.notin(["a"])], "notin(['a'])"),
    ],
)
def test_a_column(checks: list[pa.Check], words: str) -> None:
    assert constraints.describe_column(checks) == words


def test_a_cell_cannot_break_its_table() -> None:
    assert markdown.table(["a", "b"], [["x | y", "two\nlines"]]) == "| a | b |\n|---|---|\n| x \\| y | two lines |\n"
