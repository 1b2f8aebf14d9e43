"""Spans of time: their union, what of them is left, gaps between rows. No files here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

Span = tuple[int, int]
"""Half-open span of UTC ms."""


def union(spans: Sequence[Span]) -> list[Span]:
    """The spans' union as disjoint spans, ascending."""
    merged: list[Span] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def parts(spans: Iterable[Span], longest_ms: int) -> Iterator[Span]:
    """The spans, each in parts of at most so many ms, ascending."""
    for low, high in spans:
        for at in range(low, high, longest_ms):
            yield at, min(at + longest_ms, high)


def subtract(spans: Sequence[Span], covered: Sequence[Span]) -> list[Span]:
    """What of `spans` is in none of `covered`, ascending."""
    left: list[Span] = []
    for low, high in union(spans):
        at = low
        for covered_low, covered_high in union(covered):
            if covered_high <= at:
                continue
            if covered_low >= high:
                break
            if covered_low > at:
                left.append((at, covered_low))
            at = max(at, covered_high)
        if at < high:
            left.append((at, high))
    return left


def gaps(times: np.ndarray, span: Span, step_ms: int) -> list[Span]:
    """The parts of `span` where two neighbours of `times` (ascending) are further apart than `step_ms`, the span's ends
    included."""
    inside = times[slice(*(int(i) for i in np.searchsorted(times, span)))]
    edges = np.concatenate([[span[0] - step_ms], inside, [span[1]]])
    wide = np.flatnonzero(np.diff(edges) > step_ms)
    return [(int(edges[at]) + step_ms, int(edges[at + 1])) for at in wide]
