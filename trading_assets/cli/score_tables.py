"""Tables of a score study, for `report score` and `bench score`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from trading_assets.reporting.score_study import Cell, Earned


def score_tables(
    by_preset: Mapping[str, tuple[Sequence[Cell], Sequence[Earned]]], by_score: Sequence[Earned] = ()
) -> Iterator[Table]:
    """For each preset what its groups earned and what goes with it; then what other scores would have earned."""
    from trading_assets.backtesting.significance import SIGNIFICANT  # noqa: PLC0415 (numpy)
    from trading_assets.reporting.score_study import FIGURES  # noqa: PLC0415 (pandas)

    for preset, (cells, earned) in by_preset.items():
        yield _earned(f"{preset}: what following its selections earned", earned)
        told = [cell for cell in cells if not math.isnan(cell.p_value)]
        found = sum(cell.p_value <= SIGNIFICANT for cell in told)
        table = Table(
            *("figure", "group", "pairs", "coins", "days", "rank correlation", "by chance", "p", "verdict"),
            title=f"{preset}: does it predict?",
            caption=f"{found} of {len(told)} lines have p up to {SIGNIFICANT:g}; luck alone gives about "
            f"{SIGNIFICANT * len(told):.0f}",
        )
        for cell in cells:
            table.add_row(
                FIGURES.get(cell.figure, cell.figure),
                f"{cell.group} {cell.value}".strip(),
                *(f"{count:,}" for count in (cell.pairs, cell.coins, cell.days)),
                _number(cell.correlation, "+.3f"),
                "" if math.isnan(cell.low) else f"{cell.low:+.3f} to {cell.high:+.3f}",
                _number(cell.p_value, ".3f"),
                cell.verdict,
            )
        yield table
    if by_score:
        yield _earned("strict: the best of each coin by other scores", by_score)


def _earned(title: str, rows: Sequence[Earned]) -> Table:
    table = Table("group", "selections", "trades", "mean R", "standard error", title=title)
    for row in rows:
        counts = (f"{row.selections:,}", f"{row.trades:,}")
        numbers = (_number(row.mean_r, "+.3f"), _number(row.error, ".3f"))
        table.add_row(f"{row.group} {row.value}".strip(), *counts, *numbers)
    return table


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)
