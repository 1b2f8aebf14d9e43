"""A search of parameters by Optuna on one window of one coin: what is proposed follows from what earlier sets earned.

Which data sets are tried on, and what becomes of the outcome, is the caller's business.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from trading_assets.backtesting.kernel.sweep_result import SweepResult, merged_sets
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.significance import MIN_TRADES
from trading_assets.core.errors import ConfigurationError, StrategyError
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.grids import SearchSpace, Span

if TYPE_CHECKING:
    import optuna

_METRICS = [one.name for one in fields(Metrics)]
TRADES, SCORE = _METRICS.index("in_sample_trades"), _METRICS.index("in_sample_score")
_TOO_FEW = -1e9
"""Objective of a set with too few trades, plus their number: below all others, and more are better."""

_AT_A_TIME = 8
"""So many sets are asked for and tried together: one sweep computes what they share once."""


@dataclass(frozen=True)
class Searched:
    """Distinct sets that were tried, in their order, and their outcome in the one window."""

    sets: tuple[Strategy, ...]
    outcome: SweepResult


def search_window(
    kind: type[Strategy],
    space: SearchSpace,
    given: Mapping[str, object],
    at: tuple[int, str],
    run: Callable[[Sequence[Strategy]], SweepResult],
    *,
    may_try: Callable[[Strategy], bool] = lambda _strategy: True,
) -> Searched | None:
    """Propose sets by the tree-structured Parzen estimator, and improve the in-sample score. None: no set is allowed.

    The same seed, hour and symbol give the same sets on the same candles, whatever else is searched.

    Args:
        given: values that every set has.
        at: the hour (UTC ms) and the symbol.
        run: the outcome of some sets in the window.
        may_try: a set that is refused here counts as one that the strategy does not allow.

    Raises:
        ConfigurationError: Optuna is not installed.
    """
    optuna = _optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        sampler = optuna.samplers.TPESampler(seed=_seed(space.seed, *at), constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)
    tried: list[Strategy] = []
    values: dict[object, float | None] = {}
    outcomes: list[SweepResult] = []
    left = space.trials
    while left > 0:
        asked = [study.ask() for _ in range(min(_AT_A_TIME, left))]
        left -= len(asked)
        made = [_made(trial, kind, space, given, may_try) for trial in asked]
        new = {one.parameters: one for one in made if one is not None and one.parameters not in values}
        if new:
            sets = list(new.values())
            outcome = run(sets)
            outcomes.append(outcome)
            tried += sets
            usable = outcome.usable[0]
            for place, one in enumerate(sets):
                values[one.parameters] = _value(outcome, place) if usable[place] else None
        for trial, proposed in zip(asked, made, strict=True):
            value = None if proposed is None else values[proposed.parameters]
            state = optuna.trial.TrialState.FAIL if value is None else None
            study.tell(trial, value, state=state)
    if not tried:
        return None
    ends = np.cumsum([outcome.starts.shape[1] for outcome in outcomes]).tolist()
    places = [range(end - outcome.starts.shape[1], end) for end, outcome in zip(ends, outcomes, strict=True)]
    return Searched(tuple(tried), merged_sets(outcomes, places))


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ConfigurationError(
            "a search needs Optuna, which is not installed: pip install 'trading-assets[optuna]'. A grid needs nothing"
        ) from None
    return optuna


def _seed(seed: int, hour_ms: int, symbol: str) -> int:
    """Another number for each hour and symbol, so that none depends on which others are searched."""
    return int(np.random.SeedSequence([seed, hour_ms, zlib.crc32(symbol.encode())]).generate_state(1)[0])


def _made(
    trial: optuna.trial.Trial,
    kind: type[Strategy],
    space: SearchSpace,
    given: Mapping[str, object],
    may_try: Callable[[Strategy], bool],
) -> Strategy | None:
    """The set that a trial proposes; None where it is not allowed."""
    values: dict[str, object] = dict(given)
    for name, choices in space.choices:
        if isinstance(choices, Span):
            is_whole = kind.Parameters.model_fields[name].annotation is int
            values[name] = (
                trial.suggest_int(name, int(choices.low), int(choices.high))
                if is_whole
                else trial.suggest_float(name, choices.low, choices.high)
            )
        else:
            values[name] = trial.suggest_categorical(name, list(choices))  # type: ignore[arg-type]
    try:
        one = kind(values)
    except StrategyError:
        return None
    return one if may_try(one) else None


def _value(outcome: SweepResult, place: int) -> float:
    trades, score = outcome.figures[0, place, TRADES], float(outcome.figures[0, place, SCORE])
    return score if trades >= MIN_TRADES else _TOO_FEW + float(trades)
