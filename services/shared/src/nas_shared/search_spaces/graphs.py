"""When two small graphs are the same but for the numbers of their nodes."""

from collections.abc import Mapping, Sequence

Form = list[tuple[str, list[int]]]


def canonical_form(kinds: Mapping[int, str], parents: Mapping[int, Sequence[int]]) -> Form:
    """A graph, written down so that graphs which differ in numbering alone are written alike.

    Nodes are told apart by what they are, by what leads to them and by what they lead to, until that tells
    no more apart; of nodes that still look alike each is tried as the first, and the least form counts
    (individualisation and refinement; McKay and Piperno, arXiv 1301.1493, section 2).

    Args:
      kinds: what each node is.
      parents: the nodes that lead to each node; they may repeat.
    Returns:
      Per node its kind and the places of its parents.
    """
    children: dict[int, list[int]] = {number: [] for number in kinds}
    for number, found in parents.items():
        for parent in found:
            children[parent].append(number)
    return _least_form({number: (kind, 0) for number, kind in kinds.items()}, kinds, parents, children)


def _least_form(
    marks: Mapping[int, tuple[str, int]],
    kinds: Mapping[int, str],
    parents: Mapping[int, Sequence[int]],
    children: Mapping[int, Sequence[int]],
) -> Form:
    colours = _refined(marks, parents, children)
    alike = sorted(colours.values())
    tie = next((colour for i, colour in enumerate(alike[1:]) if colour == alike[i]), None)
    if tie is None:
        order = sorted(kinds, key=lambda number: colours[number])
        places = {number: place for place, number in enumerate(order)}
        return [(kinds[number], sorted(places[parent] for parent in parents[number])) for number in order]
    tied = [number for number in kinds if colours[number] == tie]
    # The colour says what refinement has found so far; the mark sets one of the tied before the rest.
    return min(
        _least_form(
            {number: (f"{colours[number]:04}", int(number != first)) for number in kinds},
            kinds,
            parents,
            children,
        )
        for first in tied
    )


def _refined(
    marks: Mapping[int, tuple[str, int]],
    parents: Mapping[int, Sequence[int]],
    children: Mapping[int, Sequence[int]],
) -> dict[int, int]:
    """A number per node, equal for nodes that cannot be told apart."""
    colours = _ranked(marks)
    while True:
        told = {
            number: (
                colours[number],
                sorted(colours[parent] for parent in parents[number]),
                sorted(colours[child] for child in children[number]),
            )
            for number in marks
        }
        finer = _ranked(told)
        if len(set(finer.values())) == len(set(colours.values())):
            return finer
        colours = finer


def _ranked(keys: Mapping[int, object]) -> dict[int, int]:
    ranks = {key: rank for rank, key in enumerate(sorted({repr(key) for key in keys.values()}))}
    return {number: ranks[repr(key)] for number, key in keys.items()}
