"""Rows of arrays that compiled code reads where they lie. What is read of them is the loops' business.

Import this module only where a sweep begins: it imports numba.
"""

from __future__ import annotations

import numba  # noqa: TID253 (this module is imported lazily)
from numba.extending import intrinsic  # noqa: TID253
from numba.np.arrayobj import populate_array  # noqa: TID253


@intrinsic
def _array_at(_context, address, length):  # type: ignore[no-untyped-def]
    """Numbers where they lie: `numba.carray` makes no array in code that counts no references."""
    kind = numba.types.Array(numba.float64, 1, "C", readonly=True)

    def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(kind)(context, builder)
        data, size = builder.inttoptr(arguments[0], array.data.type), context.get_constant(numba.types.intp, 8)
        populate_array(array, data=data, shape=[arguments[1]], strides=[size], itemsize=size, meminfo=None)
        return array._getvalue()

    return kind(address, length), generate


@numba.njit(inline="always", error_model="numpy")
def row_at(places, which, coin, first, bars):  # type: ignore[no-untyped-def]
    """A coin's row of one of several arrays, where it lies: copies of all of them would cost as much as the decisions.

    Args:
        places: where each array begins, and how many bytes lie between its rows: 0 where one row serves all coins,
            shapes (arrays,), (arrays,). Whoever made them holds the arrays.
        first, bars: the row's first bar that counts, and how many do.
    """
    addresses, steps = places
    return _array_at(addresses[which] + coin * steps[which] + 8 * first, bars)  # type: ignore[call-arg]
