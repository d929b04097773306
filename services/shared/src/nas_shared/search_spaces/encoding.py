"""How a choice of PyGlove becomes independent integers, and back.

Algorithms work on a row of integers, each with its own number of values and free of the others. What
PyGlove calls a choice is one such integer only when it takes one candidate. A choice of several that
must differ, or stand in order, is encoded so that every combination of integers is a valid choice and
every valid choice has exactly one.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyglove as pg


class SearchSpaceError(ValueError):
    """The search space is unknown or cannot be searched. Retrying does not help."""


class NasParamsError(ValueError):
    """A `nas_params_str` or a list of choices that the space does not hold. Do not retry."""


@dataclass(frozen=True)
class Decision:
    """One candidate taken from a list, as it stands in `nas_params_str`.

    Attributes:
      name: where it stands in the object, e.g. `blocks[0].kernel_size`; its key in `nas_params_str`.
      literals: the candidates as PyGlove prints them, e.g. `("0/2 (3)", "1/2 (5)")`; their
          values in `nas_params_str`.
    """

    name: str
    literals: tuple[str, ...]

    @functools.cached_property
    def values(self) -> tuple[str, ...]:
        """The candidates without their numbers, e.g. `("3", "5")`; equal ones build the same."""
        return tuple(literal.partition(" (")[2][:-1] for literal in self.literals)


class Encoding(Protocol):
    """One decision point of PyGlove: `candidates` has an index per decision, `digits` what algorithms see."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What stands in `nas_params_str`."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Values of each digit."""

    def candidates(self, digits: Sequence[int]) -> Sequence[int]:
        """The candidate of each decision; `digits` are within their cardinalities."""

    def digits(self, candidates: Sequence[int]) -> Sequence[int]:
        """The inverse.

        Raises:
          NasParamsError: the candidates do not go together.
        """


class Free:
    """Candidates that may be combined at will: a digit is a candidate."""

    def __init__(self, decisions: tuple[Decision, ...]):
        self.decisions = decisions
        self.cardinalities: tuple[int, ...] = tuple(len(decision.literals) for decision in decisions)

    def candidates(self, digits: Sequence[int]) -> Sequence[int]:
        return digits

    def digits(self, candidates: Sequence[int]) -> Sequence[int]:
        return candidates


class Arrangement:
    """Different candidates in any order, a permutation among them: the digits of the Lehmer code.

    Digit i says which of the candidates that are left stands at place i, so n, n - 1, … values.
    """

    def __init__(self, decisions: tuple[Decision, ...]):
        self.decisions = decisions
        self._count = len(decisions[0].literals)
        self.cardinalities: tuple[int, ...] = tuple(self._count - place for place in range(len(decisions)))

    def candidates(self, digits: Sequence[int]) -> Sequence[int]:
        left = list(range(self._count))
        return [left.pop(digit) for digit in digits]

    def digits(self, candidates: Sequence[int]) -> Sequence[int]:
        left = list(range(self._count))
        digits = []
        for place, candidate in enumerate(candidates):
            if candidate not in left:
                first = candidates.index(candidate)
                raise _clash(self.decisions, first, place, candidates, "different ones")
            digits.append(left.index(candidate))
            left.pop(digits[-1])
        return digits

    def told_apart(self, candidates: Sequence[int]) -> Sequence[int]:
        """`candidates` with each repeated one replaced by another of the same value, where there is one."""
        values = self.decisions[0].values
        left = list(range(self._count))
        found = []
        for candidate in candidates:
            alike = (other for other in left if values[other] == values[candidate])
            found.append(candidate if candidate in left else next(alike, candidate))
            if found[-1] in left:
                left.remove(found[-1])
        return found


class Selection:
    """Candidates in their order, different ones or not: one digit, the number of the selection."""

    # More selections than this would be a table too large to hold.
    MAX_COUNT = 1_000_000

    def __init__(self, decisions: tuple[Decision, ...], *, distinct: bool):
        self.decisions = decisions
        self._distinct = distinct
        count = range(len(decisions[0].literals))
        draw = itertools.combinations if distinct else itertools.combinations_with_replacement
        self._selections = tuple(draw(count, len(decisions)))
        self._numbers = {selection: number for number, selection in enumerate(self._selections)}
        self.cardinalities: tuple[int, ...] = (len(self._selections),)

    def candidates(self, digits: Sequence[int]) -> Sequence[int]:
        return self._selections[digits[0]]

    def digits(self, candidates: Sequence[int]) -> Sequence[int]:
        number = self._numbers.get(tuple(candidates))
        if number is not None:
            return (number,)
        place = next(
            place
            for place in range(1, len(candidates))
            if candidates[place] < candidates[place - 1] + self._distinct
        )
        expected = "different ones in ascending order" if self._distinct else "ascending order"
        raise _clash(self.decisions, place - 1, place, candidates, expected)


def encoding_of(point: Any, where: str) -> Encoding:
    """The encoding of a decision point of PyGlove's DNASpec.

    Args:
      point: an element of the specification.
      where: how to begin a message about it.
    Raises:
      SearchSpaceError: it is of a kind that is not supported: a range of numbers, or candidates with
        decisions of their own.
    """
    if not isinstance(point, pg.geno.Choices):
        raise SearchSpaceError(
            f"{where} is a {type(point).__name__}; expected pg.oneof(...) or pg.manyof(...) over a list"
        )
    for candidate, space_of_candidate in enumerate(point.candidates):
        if space_of_candidate.elements:
            raise SearchSpaceError(
                f"{where}: candidate {candidate} holds decisions of its own; expected "
                "candidates without pg.oneof(...) in them"
            )
    literals = tuple(
        point.format_candidate(i, display_format="choice_and_literal") for i in range(len(point.candidates))
    )
    if point.num_choices == 1:
        return Free((Decision(str(point.id), literals),))
    # PyGlove's own names of the places of a choice of several.
    decisions = tuple(Decision(f"{point.id}[{place}]", literals) for place in range(point.num_choices))
    if not point.sorted:
        return Arrangement(decisions) if point.distinct else Free(decisions)
    extra = 0 if point.distinct else point.num_choices - 1
    count = math.comb(len(literals) + extra, point.num_choices)
    if count > Selection.MAX_COUNT:
        raise SearchSpaceError(
            f"{where} has {count} selections; expected at most {Selection.MAX_COUNT} of a sorted choice"
        )
    return Selection(decisions, distinct=point.distinct)


def _clash(
    decisions: Sequence[Decision], first: int, second: int, candidates: Sequence[int], expected: str
) -> NasParamsError:
    found = " and ".join(
        f"{decisions[place].name}={decisions[place].literals[candidates[place]]!r}"
        for place in (first, second)
    )
    return NasParamsError(f"found {found}; expected {expected}")
