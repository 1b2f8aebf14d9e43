"""Which strategies exist, and what a row of the `strategies` table means. The rows are in `ledger.strategies`.

Every concrete `Strategy` in a module of this package is discovered. Other packages offer theirs by the entry point
group `trading_assets.strategies`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

import trading_assets.strategies as package
from trading_assets.core.errors import StrategyError
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe
from trading_assets.strategies import grids
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.grids import AS_DESCRIBED, DECLARED, DESCRIBED, Grid, Grids, SearchSpace

ENTRY_POINTS = "trading_assets.strategies"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_Json = TypeVar("_Json", dict[str, object], list[object])
_log = get_logger(__name__)


@dataclass(frozen=True)
class ConfiguredStrategy:
    """A row of the registry, ready for use.

    Attributes:
        sets: the strategy with each parameter set to try. Where a space is searched, the strategy without a search, and
            sets that declare all the data that any of the space may need.
        grid: how far they go: `described`, `declared`, `own` (values that a person named), `search` or `pinned` (one
            set).
        source: who says so: `row`, or where the setting has it from.
        pairs: symbols it may trade; empty means all.
        timeframes: timeframes it is tried on.
        search: the space that each hour searches, where it does; `pinned` are values that all its sets have, as JSON.
    """

    name: str
    sets: tuple[Strategy, ...]
    pairs: frozenset[str]
    timeframes: frozenset[Timeframe]
    grid: str = DESCRIBED
    source: str = "row"
    search: SearchSpace | None = None
    pinned: str = "{}"

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Each parameter set as canonical JSON (sorted keys, defaults included)."""
        return tuple(canonical_json(strategy) for strategy in self.sets)

    def needs(self) -> DataNeeds:
        return DataNeeds.deepest(strategy.needs() for strategy in self.sets)

    def covers(self, symbol: str, timeframe: Timeframe) -> bool:
        return timeframe in self.timeframes and (not self.pairs or symbol in self.pairs)


@dataclass(frozen=True)
class BrokenStrategy:
    """A row that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Discovery:
    """Strategy classes by name, and what offered one but cannot be used."""

    classes: Mapping[str, type[Strategy]]
    broken: tuple[BrokenStrategy, ...]


@lru_cache(maxsize=1)
def discover() -> Discovery:
    """All strategies, discovered once. A module or entry point that fails is broken and does not stop the others.

    Raises:
        StrategyError: two classes have one name.
    """
    classes: dict[str, type[Strategy]] = {}
    broken: list[BrokenStrategy] = []
    for where, found in (*_in_package(), *_from_entry_points(), *_offered):
        if isinstance(found, str):
            broken.append(BrokenStrategy(where, found))
            continue
        problem = _unfit(found)
        if problem is not None:
            broken.append(BrokenStrategy(where, problem))
            continue
        other = classes.setdefault(found.name, found)
        if other is not found:
            raise StrategyError(
                f"two strategies are named {found.name!r}: {other.__module__}.{other.__qualname__} and "
                f"{found.__module__}.{found.__qualname__}; rename one"
            )
    for entry in broken:
        _log.warning("strategy of %s cannot be used: %s", entry.name, entry.reason)
    return Discovery(dict(sorted(classes.items())), tuple(broken))


def strategy_classes() -> Mapping[str, type[Strategy]]:
    """Every usable strategy class by name.

    Raises:
        StrategyError: two classes have one name.
    """
    return discover().classes


_Found = tuple[str, type[Strategy] | str]
_offered: list[_Found] = []


@contextmanager
def offering(kind: type[Strategy]) -> Iterator[None]:
    """The strategy is known too, in this process and in those forked from it: for a trial or a notebook."""
    _offered.append((f"class {kind.__qualname__}", kind))
    discover.cache_clear()
    try:
        yield
    finally:
        _offered.pop()
        discover.cache_clear()


def _in_package() -> Iterator[_Found]:
    """Name of the module, and its class or the reason why it has none."""
    for module_info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        try:
            module = importlib.import_module(module_info.name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's module may raise anything; the others go on)
            yield module_info.name, f"its module cannot be imported: {type(error).__name__}: {error}"
            continue
        for _, kind in inspect.getmembers(module, inspect.isclass):
            own = kind.__module__ == module.__name__
            if own and issubclass(kind, Strategy) and not inspect.isabstract(kind):
                yield module_info.name, kind


def _from_entry_points() -> Iterator[_Found]:
    for point in entry_points(group=ENTRY_POINTS):
        where = f"entry point {point.name}"
        try:
            kind = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (another package may raise anything; the others go on)
            yield where, f"{point.value} cannot be imported: {type(error).__name__}: {error}"
            continue
        if inspect.isclass(kind) and issubclass(kind, Strategy) and not inspect.isabstract(kind):
            yield where, kind
        else:
            yield where, f"{point.value} is {kind!r}, expected a concrete subclass of Strategy"


def _unfit(kind: type[Strategy]) -> str | None:
    """Why a class cannot be used even with default parameters, or None."""
    for attribute in ("name", "description", "version"):
        if not isinstance(getattr(kind, attribute, None), str):
            return f"class {kind.__qualname__} needs a class attribute {attribute!r} of type str"
    if not _NAME.fullmatch(kind.name):
        return f"name {kind.name!r} of {kind.__qualname__} must be 1 to 64 of a-z, 0-9 and _, a letter first"
    try:
        default = kind()
        needs: object = default.needs()
        default.checked_exits()
    except Exception as error:  # noqa: BLE001 (a user's class may raise anything; the others go on)
        return f"class {kind.__qualname__} fails with default parameters: {type(error).__name__}: {error}"
    if not isinstance(needs, DataNeeds):
        return f"needs() of {kind.__qualname__} is {needs!r}, expected DataNeeds"
    return None


def known_strategies() -> list[Strategy]:
    """One instance of every strategy, with default parameters."""
    return [kind() for kind in strategy_classes().values()]


def canonical_json(strategy: Strategy) -> str:
    """The whole parameter set, keys sorted: equal sets have equal text."""
    return json.dumps(strategy.parameters.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def make_strategy(name: str, parameters: str) -> Strategy:
    """The strategy of a name with a parameter set as JSON.

    Raises:
        StrategyError: the name is unknown or the parameters are malformed.
    """
    found = discover()
    kind = found.classes.get(name)
    if kind is None:
        broken = "; ".join(f"{entry.name}: {entry.reason}" for entry in found.broken)
        raise StrategyError(
            f"unknown strategy {name!r}; known are {', '.join(found.classes)}"
            + (f" (cannot be used: {broken})" if broken else "")
        )
    return kind(_decode(name, parameters, dict))


def parameter_sets(name: str, parameters: str = "{}", grid: Grid | None = DESCRIBED) -> tuple[Strategy, ...]:
    """The strategies to try.

    Args:
        parameters: a JSON object: each set has these values, whatever the grid says of them.
        grid: how far the others are varied; None tries one set.

    Raises:
        StrategyError: the name is unknown, the parameters or the grid are malformed.
    """
    pinned = make_strategy(name, parameters)
    kind, given = type(pinned), _decode(name, parameters, dict)
    if isinstance(grid, SearchSpace):
        return _reach(pinned, given, grid)
    wanted: list[dict[str, object]]
    if grid is None:
        wanted = [{}]
    elif grid == DESCRIBED:
        wanted = [one.model_dump() for one in kind.described_grid()]
    elif grid == DECLARED:
        wanted = [one.model_dump() for one in kind.grid()]
    else:
        blocks = grids.checked(name, grid if isinstance(grid, str) else [dict(block) for block in grid])
        wanted = list(grids.expanded(blocks if isinstance(blocks, list) else [{}]))
    sets = {strategy.parameters: strategy for strategy in (kind(one | given) for one in wanted)}
    if not sets:
        raise StrategyError(f"the grid of strategy {name!r} is empty; expected at least one parameter set")
    return tuple(sets.values())


def _reach(pinned: Strategy, given: Mapping[str, object], space: SearchSpace) -> tuple[Strategy, ...]:
    """The strategy without a search, and a set for each other data that a corner of the space declares.

    Raises:
        StrategyError: a parameter is unknown or has a value already, or no corner is allowed.
    """
    kind = type(pinned)
    searched = {name for name, _ in space.choices}
    unknown = sorted(searched - kind.Parameters.model_fields.keys())
    if unknown:
        known = ", ".join(kind.Parameters.model_fields)
        raise StrategyError(f"{kind.name} has no parameter {', '.join(unknown)}; expected some of {known}")
    if held := sorted(searched & given.keys()):
        raise StrategyError(f"{', '.join(held)} of {kind.name} cannot be searched: the row gives it one value")
    refused: list[str] = []
    corners: list[Strategy] = []
    for values in space.corners():
        try:
            corners.append(kind({**given, **values}))
        except StrategyError as error:
            refused.append(str(error))
    if not corners:
        raise StrategyError(f"no corner of the space is allowed; one of them: {refused[0]}")
    sets = [pinned]
    for one in corners:
        if one.needs() not in [held.needs() for held in sets]:
            sets.append(one)
    return tuple(sets)


def configure(row: Mapping[Any, Any], of_setting: Grids = AS_DESCRIBED) -> ConfiguredStrategy | BrokenStrategy:
    """The strategy of a row of the `strategies` table, or why the row cannot be used.

    A row without a grid follows the setting, but for one that names parameters: it pins one set.
    """
    name = str(row["name"])
    try:
        grid, word, source = _grid_of(name, row, of_setting)
        sets = parameter_sets(name, row["parameters"], grid)
        if isinstance(grid, SearchSpace) and importlib.util.find_spec("optuna") is None:
            raise StrategyError("a search needs Optuna: pip install 'trading-assets[optuna]'")
        for strategy in sets:
            strategy.needs()
            strategy.checked_exits()
        return ConfiguredStrategy(
            name,
            sets,
            frozenset(str(pair) for pair in _decode(name, row["pairs"], list)),
            _timeframes(name, row["timeframes"]),
            word,
            source,
            *((grid, row["parameters"]) if isinstance(grid, SearchSpace) else ()),
        )
    except StrategyError as error:
        return BrokenStrategy(name, str(error))
    except Exception as error:  # noqa: BLE001 (a user's class may raise anything; the others go on)
        return BrokenStrategy(name, f"{type(error).__name__}: {error}")


def _grid_of(name: str, row: Mapping[Any, Any], of_setting: Grids) -> tuple[Grid | None, str, str]:
    """The grid of a row, the word for it, and who says so."""
    text = row.get("grid")
    if text is not None:
        grid = grids.checked(name, text if text in grids.WORDS else _decoded(name, text))
        return grid, _word(grid), "row"
    if _decode(name, row["parameters"], dict):
        return None, "pinned", "row"
    grid = of_setting.of(name)
    return grid, _word(grid), of_setting.source


def _word(grid: Grid) -> str:
    return grid if isinstance(grid, str) else grids.SEARCH if isinstance(grid, SearchSpace) else "own"


def _timeframes(name: str, text: str) -> frozenset[Timeframe]:
    listed = _decode(name, text, list)
    unknown = [value for value in listed if value not in TRADED_TIMEFRAMES]
    if unknown:
        raise StrategyError(
            f"timeframes of strategy {name!r}: found {unknown}, expected some of {', '.join(TRADED_TIMEFRAMES)}"
        )
    return frozenset(Timeframe(str(value)) for value in listed) or frozenset(TRADED_TIMEFRAMES)


def _decoded(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise StrategyError(f"row of strategy {name!r} holds malformed JSON: {error}") from None


def _decode(name: str, text: str, kind: type[_Json]) -> _Json:
    value = _decoded(name, text)
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "list"
        raise StrategyError(f"row of strategy {name!r}: expected a JSON {expected}, found {text}")
    return value
