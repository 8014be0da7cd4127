"""The Pareto front of two numbers, both to be maximised."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indices of the points that no other point dominates, by falling first value.

    A point dominates another if it is at least as good in both values and better in one; equal
    points do not dominate each other, so all of them stay. Equal points keep their order.
    """
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1], i))
    front: list[int] = []
    for index in order:
        # Sorted so, only the latest member can dominate or equal a newcomer.
        if (
            not front
            or points[index][1] > points[front[-1]][1]
            or points[index] == points[front[-1]]
        ):
            front.append(index)
    return front
