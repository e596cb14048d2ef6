"""A proof that a demand is too large: weights of instances by which it outweighs what the cards can hold."""

from __future__ import annotations

from collections.abc import Sequence

_TINY = 1e-9
_PIVOTS = 60


def find_weights(columns: Sequence[tuple[int, ...]], demand: tuple[int, ...]) -> tuple[float, ...]:
    """Weights, none negative, by which no column weighs more than 1 and the demand as much as possible.

    The dual of the linear relaxation of packing ``demand`` into columns (Gilmore and Gomory 1961), by the simplex
    method with Bland's rule; after 60 pivots it gives what it has, which is a valid answer, too.
    """
    width = len(demand)
    rows = [[float(x) for x in column] + [0.0] * len(columns) + [1.0] for column in columns]
    for index, row in enumerate(rows):
        row[width + index] = 1.0
    objective = [-float(x) for x in demand] + [0.0] * (len(columns) + 1)
    basis = [width + index for index in range(len(columns))]
    for _ in range(_PIVOTS):
        entering = next((i for i, value in enumerate(objective[:-1]) if value < -_TINY), None)
        if entering is None:
            break
        ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(rows) if row[entering] > _TINY]
        if not ratios:
            break
        _, _, leaving = min(ratios)
        pivot = rows[leaving][entering]
        rows[leaving] = [value / pivot for value in rows[leaving]]
        pivoted = rows[leaving]
        for i, row in enumerate(rows):
            if i != leaving and abs(row[entering]) > _TINY:
                factor = row[entering]
                rows[i] = [a - factor * b for a, b in zip(row, pivoted, strict=True)]
        factor = objective[entering]
        objective = [a - factor * b for a, b in zip(objective, pivoted, strict=True)]
        basis[leaving] = entering
    weights = [0.0] * width
    for index, variable in enumerate(basis):
        if variable < width:
            weights[variable] = max(0.0, rows[index][-1])
    return tuple(weights)
