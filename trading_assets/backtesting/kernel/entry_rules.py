"""Compiles a strategy's `entries`, as its author wrote it, into a sweep over bars and parameter sets.

A rule of comparisons, `&`, `|` and arithmetic means the same for arrays and for the numbers of one bar, so the function
itself is compiled: its `v` and `p` become named tuples of the numbers it reads. What numba cannot compile is no error:
the caller takes the array path. The machine code is cached where `kernel.machine_code` says; its name carries a
digest of the rule and of the kernel's sources: a changed rule has another name.
"""

from __future__ import annotations

import hashlib
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from trading_assets.backtesting.kernel.machine_code import cached
from trading_assets.backtesting.kernel.machine_code import digest as sources_digest
from trading_assets.core.foreign_text import get_logger
from trading_assets.strategies.base import CANDLE_VALUES, Parameters

_log = get_logger(__name__)

_DEPTH = 8

Rule = Callable[..., Any]

_SOURCE = """
def decide(p, direction, {codes}{arrays}):
    both = 0
    for bar in range(direction.shape[0]):
        entry = rule(Values({values_of_bar}), p)
        long, short = np.uint8(entry.long != 0), np.uint8(entry.short != 0)
        both += long & short
{leave}        direction[bar] = long | (short << 1)
    return both

def confidence_of(taken, count, p, {arrays}):
    total = 0.0
    for index in range(count):
        bar = taken[index]
        confidence = rule(Values({values_of_bar}), p).confidence
        if not 0 <= confidence <= 100:
            return np.nan
        total += confidence
    return total / count

def sweep(
    values, columns, parameters, sets, opens, highs, lows, closes, paid, payments_by, windows, max_prices,
    first, distances, stops, costs, slips, bars_per_year, directions, next_entries, exits, records, taken,
    gains, risks, starts, figures, sound, {exit_arguments}{limit_argument}
):
    used, until, bars = 0, 0, directions.shape[1]
    for coin in range(closes.shape[0]):
        since = until
        while until < windows.shape[0] and windows[until, 0] == coin:
            until += 1
        sound[coin] = True
        for decision in range(columns.shape[0]):
            if decide(Parameters({parameters}), directions[decision], {codes_of_decision}{rows}):
                sound[coin] = False
            fill_next_entry(directions[decision], next_entries[decision])
        if not sound[coin]:
            continue
        at = -1
        for index in range(sets.shape[0]):
            row, decision, stop = sets[index]
            if stop != at:
                exits[:] = UNKNOWN
                at = stop
            for window in range(since, until):
                if windows[window, 5]:
                    starts[window, row] = starts[window - 1, row]
                    for one in range(figures.shape[2]):
                        figures[window, row, one] = figures[window - 1, row, one]
                    continue
                count = simulate_set(
                    directions[decision], next_entries[decision], opens[coin, first:], highs[coin, first:],
                    lows[coin, first:], closes[coin, first:], paid[coin], payments_by, windows[window],
                    max_prices[window], row_at(distances, int(stops[stop, 2]), coin, first, bars), stops[stop, 0],
                    stops[stop, 1], costs, slips[coin], bars_per_year, exits, records, taken, gains[used:],
                    risks[used:], figures[window, row], {rules},
                    {limit},
                )
                starts[window, row] = used
                used += count
                if count:
                    confidence = confidence_of(taken, count, Parameters({parameters}), {rows})
                    if np.isnan(confidence):
                        sound[coin] = False
                    figures[window, row, 7] = confidence
    return used
"""
"""What is compiled around a rule.

`decide` writes the code of each bar for one decision (distinct values and parameters of the rule) and returns how many
bars are both long and short: a loop without branches, which runs on several bars at once. `sweep` goes over the coins
of a panel and returns how many trades closed in all:

* `values`: indicators and candle columns where they lie, see `rows.row_at`;
* `columns`, `parameters`: of each decision which of `values` it reads and the numbers of `p`, shapes (decisions, ...);
  a bool is 0 or 1;
* `sets`: row of `figures`, decision and stop of each set, those of one stop together, shape (sets, 3);
* `opens` to `closes`: shape (coins, bars of the data), of which those from `first` on count; `paid`, `payments_by`: see
  `loops.fill_funding`, the latter changed meanwhile;
* `windows`: see `panel.Panel`; `max_prices`: no entry at a close above, shape (windows,);
* `distances`: ATR of each period, where they lie; `stops`: ATR multiple, reward to risk, which of `distances`, shape
  (stops, 3);
* `costs`, `slips`: see `loops.trade`, the latter of each coin, shape (coins, n) or (coins, 0);
* `numbers`, `codes`, `plans`, `roi`, `parts`, `marks`, `part_bars`, `part_prices`, in a sweep with exits alone: of
  `exit_loops.trade_with_exits`; `codes` are room of shape (decisions, n), `plans` to `parts` those of each stop;
* `limit`, in a sweep of entries that wait alone: of `limit_loops.trade_with_limit`;
* `directions`, `next_entries`, `exits`, `records`, `taken`: room to work in;
* `figures`: receives the fields of `Metrics`, shape (windows, sets, fields); `gains`, `risks`: PnL of closed trades and
  distance of their stops as a fraction of price, those of a set from `starts` on, shapes (trades,) and (windows, sets);
  `sound`: False for a coin with a bar both long and
  short, or a confidence not between 0 and 100.
"""


_WITH_EXITS = {
    "codes": "codes, ",
    "leave": """        leave_long, leave_short = np.uint8(entry.exit_long != 0), np.uint8(entry.exit_short != 0)
        codes[bar] = leave_long | (leave_short << 1)
        long, short = long & ~leave_long, short & ~leave_short
""",
    "exit_arguments": "numbers, codes, plans, roi, parts, marks, part_bars, part_prices,",
    "codes_of_decision": "codes[decision], ",
    "rules": "(numbers, codes[decision], plans[stop], roi[stop], parts[stop], marks, part_bars, part_prices)",
}
_PLAN_ALONE = _WITH_EXITS | dict.fromkeys(("codes", "leave", "codes_of_decision"), "")
_WAITS, _AT_MARKET = {"limit_argument": " limit,", "limit": "limit"}, {"limit_argument": "", "limit": "None"}
_WITHOUT_EXITS = dict.fromkeys(_WITH_EXITS, "") | {"rules": "None"}


@dataclass(frozen=True)
class CompiledRule:
    """A rule ready for a sweep.

    Attributes:
        values: names of the indicators and candle columns that it reads.
        parameters: names of the parameters that it reads.
        sweep: the compiled function; `_SOURCE` tells its arguments.
        exits, signals: whether it knows exits besides stop and target, and exit conditions among them.
        waits: whether its entries wait at a price.
    """

    values: tuple[str, ...]
    parameters: tuple[str, ...]
    sweep: Callable[..., int]
    exits: bool = False
    signals: bool = False
    waits: bool = False


@lru_cache(maxsize=256)
def compile_rule(
    rule: Rule,
    kind: type[Parameters],
    indicators: frozenset[str],
    *,
    exits: bool = False,
    signals: bool = False,
    waits: bool = False,
) -> CompiledRule | None:
    """The rule as a sweep, compiled when that is first called; None where it is no plain function of numbers.

    Args:
        exits, signals, waits: see `CompiledRule`; numba knows the exit conditions only of a rule that gives them.
            Entries that wait need the sweep with exits.
    """
    if not isinstance(rule, FunctionType):
        return None
    functions = list(dict.fromkeys(_functions(rule)))
    read = {name for function in functions for code in _codes(function.__code__) for name in code.co_names}
    values = tuple(sorted(read & (indicators | set(CANDLE_VALUES))))
    parameters = tuple(sorted(read & set(kind.model_fields)))
    if not values or any(kind.model_fields[name].annotation not in (bool, int, float) for name in parameters):
        return None
    try:
        name = f"sweep_{_digest(functions, values, parameters)}{'_exits' * exits}{'_signals' * signals}"
        name += "_waits" * waits
        template = (_WITH_EXITS if signals else _PLAN_ALONE) if exits else _WITHOUT_EXITS
        template = template | (_WAITS if waits else _AT_MARKET)
        sweep = _build(name, rule, values, parameters, template)
        return CompiledRule(values, parameters, sweep, exits, signals, waits)
    except (_NotANumberError, ValueError, RecursionError) as error:
        _log.info("%s is not compiled: %s", rule.__qualname__, error)
        return None


def _build(
    unique_name: str, rule: FunctionType, values: Sequence[str], parameters: Sequence[str], of_exits: Mapping[str, str]
) -> Callable[..., int]:
    import numba

    from trading_assets.backtesting.kernel import loops, rows  # noqa: PLC0415 (numba)

    scope: dict[str, Any] = {
        **vars(loops),
        "row_at": rows.row_at,
        "rule": _jitted(rule, 0),
        "Values": namedtuple("Values", values),
        "Parameters": namedtuple("Parameters", parameters),
    }
    arrays = [f"values_{index}" for index in range(len(values))]
    source = _SOURCE.format(
        arrays=", ".join(arrays),
        values_of_bar=", ".join(f"{array}[bar]" for array in arrays),
        rows=", ".join(
            f"row_at(values, columns[decision, {index}], coin, first, bars)" for index in range(len(values))
        ),
        parameters=", ".join(f"parameters[decision, {index}]" for index in range(len(parameters))),
        **of_exits,
    )
    # Compiled under this file's name: numba caches nothing of a file that does not exist.
    exec(compile(source, __file__, "exec"), scope)
    for name in ("decide", "confidence_of"):
        scope[name] = numba.njit(**loops.COMPILED)(scope[name])
    sweep = scope["sweep"]
    sweep.__name__ = sweep.__qualname__ = unique_name
    return cached(**loops.COMPILED)(sweep)


def _jitted(function: FunctionType, depth: int) -> Any:
    """The function compiled, and the plain functions it calls with it."""
    import numba

    if depth > _DEPTH:
        raise RecursionError(f"{function.__qualname__} calls itself")
    called = {name: _jitted(other, depth + 1) for name, other in _called(function)}
    alone = FunctionType(
        function.__code__,
        {**function.__globals__, **called},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return numba.njit(nogil=True, error_model="numpy")(alone)


def _called(function: FunctionType) -> Iterator[tuple[str, FunctionType]]:
    for name in function.__code__.co_names:
        other = function.__globals__.get(name)
        if isinstance(other, FunctionType):
            yield name, other


def _functions(function: FunctionType, depth: int = 0) -> Iterator[FunctionType]:
    """The function and the plain functions that it calls, directly or not."""
    yield function
    if depth <= _DEPTH:
        for _, other in _called(function):
            yield from _functions(other, depth + 1)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _digest(functions: Sequence[FunctionType], values: Sequence[str], parameters: Sequence[str]) -> str:
    """16 hexadecimal digits: equal only for rules that compile to the same code."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(sources_digest().encode())
    parts: list[object] = [tuple(values), tuple(parameters)]
    for function in functions:
        for code in _codes(function.__code__):
            parts += [code.co_code, code.co_names, code.co_varnames, [_constant(one) for one in code.co_consts]]
            parts += [_named(name, function.__globals__, code.co_names) for name in code.co_names]
        parts += [_constant(function.__defaults__)]
        parts += [_constant(cell.cell_contents) for cell in function.__closure__ or ()]
    digest.update(repr(parts).encode())
    return digest.hexdigest()


class _NotANumberError(TypeError):
    """A rule reads something whose content no digest can tell."""


def _named(name: str, scope: Mapping[str, object], attributes: Sequence[str]) -> object:
    """What a name of a rule stands for; of a module what the rule may read of it."""
    value = scope.get(name)
    if isinstance(value, ModuleType):
        read = [(one, getattr(value, one)) for one in attributes if hasattr(value, one)]
        return name, value.__name__, [(one, _constant(held)) for one, held in read if not callable(held)]
    return name, _constant(value)


def _constant(value: object) -> object:
    """What of a value is baked into machine code, in a form equal in every process.

    Raises:
        _NotANumberError: it is an array, an object or the like: its content may change without a trace in the digest.
    """
    if isinstance(value, CodeType):
        return value.co_name
    if isinstance(value, type):
        return value.__name__, getattr(value, "_fields", None)
    if isinstance(value, FunctionType):
        return value.__name__
    if isinstance(value, tuple):
        return tuple(_constant(one) for one in value)
    if isinstance(value, int | float | str | bytes | None):
        return value
    raise _NotANumberError(f"it reads {value!r}; expected numbers, functions and modules alone")
