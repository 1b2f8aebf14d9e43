"""How far a strategy's parameters are varied: as described, as declared, or as a person says. No rows, no strategies.

A grid is a word or blocks. A block names values for some parameters, `{"band": [0.7, 0.9], "rsi_low": 30}`; its lists
are multiplied out, what it does not name keeps its default, and several blocks are added up.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from trading_assets.core.errors import ConfigurationError, StrategyError

DESCRIBED = "described"
"""What the description gives is fixed; what it leaves open is varied."""

DECLARED = "declared"
"""Every set that the strategy's `grid()` names."""

WORDS = (DESCRIBED, DECLARED)

SETTING = "setting"
"""What a person says for "as the setting says"."""

Block = Mapping[str, object]
Grid = str | Sequence[Block]
"""One of `WORDS`, or blocks."""


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
        StrategyError: it is neither a word nor blocks of named values.
    """
    if isinstance(value, str) and value in WORDS:
        return value
    blocks = [value] if isinstance(value, dict) else value
    if isinstance(blocks, list) and blocks and all(isinstance(block, dict) for block in blocks):
        return blocks
    raise StrategyError(
        f"grid of strategy {name!r}: found {value!r}, expected {DESCRIBED!r}, {DECLARED!r}, or parameters with the "
        'values to try, such as {"band": [0.7, 0.9]}'
    )


def expanded(grid: Sequence[Block]) -> Iterator[dict[str, object]]:
    """The parameters that each set of some blocks names; the first takes the first value of every list."""
    for block in grid:
        choices = [value if isinstance(value, list) else [value] for value in block.values()]
        for chosen in product(*choices):
            yield dict(zip(block, chosen, strict=True))


def text_of(grid: Grid) -> str:
    """A grid as its row holds it: the word, or JSON."""
    return grid if isinstance(grid, str) else json.dumps(grid, separators=(", ", ": "))


def named_values(texts: Iterable[str]) -> dict[str, object]:
    """Values given as NAME=VALUE, each as JSON or else as text; NAME= stands for None.

    Raises:
        StrategyError: one has no name.
    """
    return {name: _value(text) for name, text in map(_split, texts)}


def grid_of(texts: Sequence[str]) -> Grid | None:
    """A grid given as one of `WORDS`, as `setting` (None: as the setting says), or as NAME=VALUE,VALUE for parameters.

    Raises:
        StrategyError: it is none of these.
    """
    if len(texts) == 1 and texts[0] in (*WORDS, SETTING):
        return None if texts[0] == SETTING else texts[0]
    return [{name: [_value(part) for part in text.split(",")] for name, text in map(_split, texts)}]


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise StrategyError(f"found {text!r}, expected NAME=VALUE, or for a grid {', '.join((*WORDS, SETTING))}")
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
