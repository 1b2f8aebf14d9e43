"""Random numbers addressed by a stream and a counter, and the two recursions of the price process. No prices here.

A stream is a 64-bit number hashed from a seed and words; what it gives at a counter never depends on what was asked
before. Long arrays come from Philox (Salmon et al., 2011), whose key is (stream, counter), and are turned into
variates by tables of quantiles, in a third of the time of drawing normals.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint16]

_BITS = 12
_LEVELS = 1 << _BITS
"""Quantiles in a table: 32 kB stay in the fastest cache, a table of 16 bits is eight times slower to look up."""


@lru_cache(4096)
def stream(seed: int, *words: str) -> int:
    """The stream of a seed and words, 0 to 2**64 - 1; the same in any process."""
    text = "\x1f".join((str(seed), *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def words_at(of: int, counter: int, count: int) -> Words:
    """`count` (a multiple of four) uniform 16-bit words. A shorter answer is the beginning of a longer one."""
    philox = np.random.Philox(key=np.array([of, counter], dtype=np.uint64))
    return np.asarray(philox.random_raw(count // 4)).view(np.uint16)


def uniform_at(of: int, counter: int) -> float:
    """One number in [0, 1)."""
    digest = hashlib.blake2b(struct.pack("<Qq", of, counter), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64


def normal_at(of: int, counter: int) -> float:
    """One standard normal number."""
    return float(_normal_quantiles()[int(uniform_at(of, counter) * _LEVELS)])


def drift_at(of: int, position: float) -> float:
    """A slow random function of `position`: normal at whole numbers, straight between them."""
    before = int(position // 1)
    share = position - before
    return (1.0 - share) * normal_at(of, before) + share * normal_at(of, before + 1)


def uniforms(words: Words) -> Floats:
    """In (0, 1)."""
    return (words + 0.5) / 65_536


def normals(words: Words) -> Floats:
    return _normal_quantiles()[words >> (16 - _BITS)]


def heavy_tailed(words: Words) -> Floats:
    """Student t with 4 degrees of freedom, scaled to unit variance."""
    return _heavy_quantiles()[words >> (16 - _BITS)]


def exponentials(words: Words) -> Floats:
    """With mean 1."""
    return _exponential_quantiles()[words >> (16 - _BITS)]


def autoregressive(shocks: Floats, phi: float) -> Floats:
    """x[i] = phi x[i-1] + shocks[i] from x[-1] = 0, shape (n,); phi**n must stay above 1e-290.

    Written as phi**i cumsum(shocks phi**-i): a cumulative sum is the only recursion that numpy has, and the growing
    weights lose nothing, because rounding errors decay with the values that made them.
    """
    powers, inverse, _ = _powers(phi, len(shocks))
    return np.cumsum(shocks * inverse) * powers


def reverting_bridge(shocks: Floats, phi: float, start: float, end: float) -> Floats:
    """A stationary autoregression of unit variance that leaves `start` and is `end` at its last element.

    Args:
        shocks: standard normal, shape (n,).
        start: value one step before the first element.
    """
    powers, _, pull = _powers(phi, len(shocks))
    values = autoregressive(shocks * (1.0 - phi * phi) ** 0.5, phi)
    values += powers * (phi * start)
    values += pull * (end - values[-1])
    values[-1] = end
    return values


@lru_cache(maxsize=64)
def _powers(phi: float, count: int) -> tuple[Floats, Floats, Floats]:
    """phi**i, phi**-i, and how far a bridge of `count` steps bends towards its end at step i + 1."""
    powers = phi ** np.arange(count, dtype=np.float64)
    variance = 1.0 - (phi * powers) ** 2
    return powers, 1.0 / powers, powers[::-1] * variance / variance[-1]


@cache
def _normal_quantiles() -> Floats:
    grid = np.linspace(-6.0, 6.0, 120_001)
    density = np.exp(-0.5 * grid**2)
    below = np.cumsum(density) - 0.5 * density
    return _unit_variance(np.interp(_middles(), below / density.sum(), grid))


@cache
def _heavy_quantiles() -> Floats:
    """Shaw (2006), section 5: the quantile of the t distribution with 4 degrees of freedom in closed form."""
    middle = _middles()
    alpha = np.sqrt(4.0 * middle * (1.0 - middle))
    size = 2.0 * np.sqrt(np.cos(np.arccos(alpha) / 3.0) / alpha - 1.0)
    return _unit_variance(np.sign(middle - 0.5) * size)


@cache
def _exponential_quantiles() -> Floats:
    return -np.log1p(-_middles())


def _middles() -> Floats:
    return (np.arange(_LEVELS) + 0.5) / _LEVELS


def _unit_variance(quantiles: Floats) -> Floats:
    return quantiles / np.sqrt(np.mean(quantiles**2))
