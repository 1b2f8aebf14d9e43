"""How far a strategy's parameters are varied: as described, as declared, or as a person says. No rows, no strategies.

A grid is a word, blocks or a space. A block names values for some parameters, `{"band": [0.7, 0.9], "rsi_low": 30}`;
its lists are multiplied out, what it does not name keeps its default, and several blocks are added up. A space is
searched instead: `{"search": {"band": {"from": 0.5, "to": 1.2}, "reward_risk": [1.5, 2.0]}, "trials": 64, "seed": 1}`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isfinite, prod
from pathlib import Path
from typing import NamedTuple

from trading_assets.core.errors import ConfigurationError, StrategyError

DESCRIBED = "described"
"""What the description gives is fixed; what it leaves open is varied."""

DECLARED = "declared"
"""Every set that the strategy's `grid()` names."""

WORDS = (DESCRIBED, DECLARED)

SETTING = "setting"
"""What a person says for "as the setting says"."""

SEARCH = "search"
"""What a person says before the values that are searched."""

TRIALS = 64
"""Sets that a search proposes for each hour, coin and timeframe, unless a person says how many."""

MOST_TRIALS = 1_000
MOST_CORNERS = 4_096


class Span(NamedTuple):
    """From the least to the largest value of a number that is searched."""

    low: float
    high: float


@dataclass(frozen=True)
class SearchSpace:
    """What is searched: by parameter a span, or the values to choose from.

    Raises:
        StrategyError: it is empty, or a span, the trials or the seed cannot be meant.
    """

    choices: tuple[tuple[str, Span | tuple[object, ...]], ...]
    trials: int = TRIALS
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.choices:
            raise StrategyError("a search needs at least one parameter with its values, such as stop_atr=1..4")
        if len(dict(self.choices)) < len(self.choices):
            raise StrategyError("a search names a parameter twice")
        for name, values in self.choices:
            if isinstance(values, Span) and not (
                all(isinstance(end, int | float) and isfinite(end) for end in values) and values.low < values.high
            ):
                raise StrategyError(f"{name}: found {values.low!r}..{values.high!r}, expected the smaller number first")
            if not values:
                raise StrategyError(f"{name}: no value to choose from")
        if type(self.trials) is not int or not 1 <= self.trials <= MOST_TRIALS:
            raise StrategyError(f"found {self.trials!r} trials of a search, expected 1 to {MOST_TRIALS}")
        if type(self.seed) is not int or self.seed < 0:
            raise StrategyError(f"found {self.seed!r} as the seed of a search, expected a whole number from 0 on")
        if prod(2 if isinstance(values, Span) else len(values) for _, values in self.choices) > MOST_CORNERS:
            raise StrategyError(
                f"the space of a search has more than {MOST_CORNERS:,} corners: name fewer parameters, or spans in "
                "place of many values"
            )

    def corners(self) -> Iterator[dict[str, object]]:
        """Each way to take an end of every span, and one of every other parameter's values."""
        names = [name for name, _ in self.choices]
        for chosen in product(*(tuple(values) for _, values in self.choices)):
            yield dict(zip(names, chosen, strict=True))


Block = Mapping[str, object]
Grid = str | Sequence[Block] | SearchSpace
"""One of `WORDS`, blocks, or a space to search."""


@dataclass(frozen=True)
class Grids:
    """What the setting `parameters` means: a word for all strategies, or blocks for some and `described` for others."""

    word: str = DESCRIBED
    blocks: Mapping[str, Grid] = field(default_factory=dict)
    source: str = "TRADING_ASSETS_PARAMETERS"

    def of(self, name: str) -> Grid:
        return self.blocks.get(name, self.word)


AS_DESCRIBED = Grids()


def grids_from(setting: str) -> Grids:
    """The grids of the setting's value: `described`, `declared`, or a TOML or JSON file with a grid for each strategy.

    Raises:
        ConfigurationError: the file cannot be read, or is no mapping of strategies to grids.
    """
    if setting in WORDS:
        return Grids(setting)
    path = Path(setting).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigurationError(
            f"TRADING_ASSETS_PARAMETERS: {setting!r} is no grid ({error}); expected {DESCRIBED}, {DECLARED}, or a TOML "
            "or JSON file with a grid for each strategy"
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"TRADING_ASSETS_PARAMETERS: {setting} holds {_kind(found)}, expected strategies")
    try:
        return Grids(DESCRIBED, {name: checked(name, value) for name, value in found.items()}, str(path))
    except StrategyError as error:
        raise ConfigurationError(f"TRADING_ASSETS_PARAMETERS: {setting}: {error}") from None


def checked(name: str, value: object) -> Grid:
    """A grid as read from a file or a row.

    Raises:
        StrategyError: it is neither a word nor blocks of named values, nor a space that can be searched.
    """
    if isinstance(value, SearchSpace) or (isinstance(value, str) and value in WORDS):
        return value
    if isinstance(value, dict) and isinstance(value.get(SEARCH), dict):
        return _space(name, value)
    blocks = [value] if isinstance(value, dict) else value
    if isinstance(blocks, list) and blocks and all(isinstance(block, dict) for block in blocks):
        return blocks
    raise StrategyError(
        f"grid of strategy {name!r}: found {value!r}, expected {DESCRIBED!r}, {DECLARED!r}, or parameters with the "
        'values to try, such as {"band": [0.7, 0.9]}, or to search: {"search": {"band": {"from": 0.5, "to": 1}}}'
    )


def _space(name: str, value: Mapping[str, object]) -> SearchSpace:
    unknown = sorted(value.keys() - {SEARCH, "trials", "seed"})
    if unknown:
        raise StrategyError(f"search of strategy {name!r}: found {', '.join(unknown)}, expected search, trials, seed")
    searched, rest = value[SEARCH], {key: of for key, of in value.items() if key != SEARCH}
    choices = tuple((of, _choices(values)) for of, values in searched.items())  # type: ignore[attr-defined]
    try:
        return SearchSpace(choices, **rest)  # type: ignore[arg-type]
    except StrategyError as error:
        raise StrategyError(f"search of strategy {name!r}: {error}") from None


def _choices(values: object) -> Span | tuple[object, ...]:
    if isinstance(values, dict):
        if values.keys() != {"from", "to"}:
            raise StrategyError(f"found {values}, expected the numbers from and to, or a list of values")
        return Span(values["from"], values["to"])
    return tuple(values) if isinstance(values, list) else (values,)


def expanded(grid: Sequence[Block]) -> Iterator[dict[str, object]]:
    """The parameters that each set of some blocks names; the first takes the first value of every list."""
    for block in grid:
        choices = [value if isinstance(value, list) else [value] for value in block.values()]
        for chosen in product(*choices):
            yield dict(zip(block, chosen, strict=True))


def text_of(grid: Grid) -> str:
    """A grid as its row holds it: the word, or JSON."""
    if isinstance(grid, SearchSpace):
        searched = {
            name: {"from": values.low, "to": values.high} if isinstance(values, Span) else list(values)
            for name, values in grid.choices
        }
        return json.dumps({SEARCH: searched, "trials": grid.trials, "seed": grid.seed}, separators=(", ", ": "))
    return grid if isinstance(grid, str) else json.dumps(grid, separators=(", ", ": "))


def named_values(texts: Iterable[str]) -> dict[str, object]:
    """Values given as NAME=VALUE, each as JSON or else as text; NAME= stands for None.

    Raises:
        StrategyError: one has no name.
    """
    return {name: _value(text) for name, text in map(_split, texts)}


def grid_of(texts: Sequence[str]) -> Grid | None:
    """A grid given as one of `WORDS`, as `setting` (None: as the setting says), or as NAME=VALUE,VALUE for parameters.

    After `search` or `search:TRIALS` or `search:TRIALS:SEED` they are searched, and NAME=FROM..TO is a span.

    Raises:
        StrategyError: it is none of these.
    """
    if len(texts) == 1 and texts[0] in (*WORDS, SETTING):
        return None if texts[0] == SETTING else texts[0]
    word, *numbers = texts[0].split(":")
    if word == SEARCH:
        if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
            raise StrategyError(f"found {texts[0]!r}, expected search, search:TRIALS or search:TRIALS:SEED")
        choices = tuple((name, _searched(name, text)) for name, text in map(_split, texts[1:]))
        return SearchSpace(choices, *map(int, numbers))
    return [{name: [_value(part) for part in text.split(",")] for name, text in map(_split, texts)}]


def _searched(name: str, text: str) -> Span | tuple[object, ...]:
    low, dots, high = text.partition("..")
    if not dots:
        return tuple(_value(part) for part in text.split(","))
    try:
        return Span(*(json.loads(end) for end in (low, high)))
    except json.JSONDecodeError:
        raise StrategyError(f"{name}: found {text!r}, expected two numbers, FROM..TO") from None


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        words = ", ".join((*WORDS, SETTING, SEARCH))
        raise StrategyError(f"found {text!r}, expected NAME=VALUE, or for a grid {words}")
    return name.strip(), value.strip()


def _value(text: str) -> object:
    if not text:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _kind(value: object) -> str:
    return type(value).__name__
