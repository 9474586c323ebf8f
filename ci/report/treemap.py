"""A squarified treemap (Bruls, Huizing and van Wijk, 2000): areas as given, near to squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle; the unit is the caller's."""

    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Divide `box` in proportion to `sizes`, which are positive and descend; one box for each."""
    boxes: list[Box] = []
    left = list(sizes)
    while left:
        scale = box.width * box.height / sum(left)
        side = min(box.width, box.height)
        count = 1
        while count < len(left) and (
            _worst(left[: count + 1], scale, side) <= _worst(left[:count], scale, side)
        ):
            count += 1
        row, left = left[:count], left[count:]
        thickness = sum(row) * scale / side if side else 0.0
        placed, box = _place(row, box, thickness)
        boxes += placed
    return boxes


def _worst(row: Sequence[float], scale: float, side: float) -> float:
    """Return the worst ratio of sides in a row of boxes laid along `side`."""
    area = sum(row) * scale
    return max(side**2 * max(row) * scale / area**2, area**2 / (side**2 * min(row) * scale))


def _place(row: Sequence[float], box: Box, thickness: float) -> tuple[list[Box], Box]:
    """Lay `row` along the shorter side of `box`; return its boxes, and what is left of `box`."""
    placed, total, done = [], sum(row), 0.0
    upright = box.width >= box.height
    for size in row:
        start, share = done / total, size / total
        placed.append(
            Box(box.x, box.y + start * box.height, thickness, share * box.height)
            if upright
            else Box(box.x + start * box.width, box.y, share * box.width, thickness)
        )
        done += size
    if upright:
        return placed, Box(box.x + thickness, box.y, box.width - thickness, box.height)
    return placed, Box(box.x, box.y + thickness, box.width, box.height - thickness)
