"""A search space as a flat list of choices, beside PyGlove's object of it.

PyGlove is the language in which spaces and `nas_params_str` are written. It takes tens of
milliseconds per proposal, so its DNASpec is read once, here, and what happens thousands of
times per search (proposing, storing, reading back) works on tuples of integers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyglove as pg


class SearchSpaceError(ValueError):
    """The search space is unknown or cannot be searched. Retrying does not help."""


class NasParamsError(ValueError):
    """A `nas_params_str` or a list of choices that the space does not hold. Do not retry."""


@dataclass(frozen=True)
class Decision:
    """One choice among a few candidates.

    Attributes:
      name: where the decision stands in the object, e.g. `blocks[0].kernel_size`; its key
          in `nas_params_str`.
      literals: the candidates as PyGlove prints them, e.g. `("0/2 (3)", "1/2 (5)")`; their
          values in `nas_params_str`.
    """

    name: str
    literals: tuple[str, ...]


class SearchSpace:
    """A flat search space: every decision is taken once and independently of the others.

    A point of the space is `choices`, the index of the candidate taken for each decision, or,
    the same in JSON, `nas_params_str`. Objects are immutable and may be shared by threads.
    """

    def __init__(self, name: str, hyper_value: Any, references: Mapping[str, Any] | None = None) -> None:
        """Reads the decisions of `hyper_value`.

        Args:
          name: how users call the space.
          hyper_value: PyGlove object (or list, or dict) with `pg.oneof` in it.
          references: known points of the space as concrete objects, by name.
        Raises:
          SearchSpaceError: there is no decision in it, one of a kind that is not supported
              (conditional, several of a list, a range of numbers), or a reference lies
              outside the space.
        """
        # PyGlove materializes its own lists and dicts, but not Python's.
        if type(hyper_value) is list:
            hyper_value = pg.List(hyper_value)
        elif type(hyper_value) is dict:
            hyper_value = pg.Dict(hyper_value)
        self._name = name
        try:
            self._template = pg.template(hyper_value)
            self._dna_spec = self._template.dna_spec()
        except Exception as error:  # PyGlove checks the user's classes here.
            raise SearchSpaceError(f"search space {name!r}: PyGlove cannot read it: {error}") from error
        self._decisions = tuple(_decision(name, point) for point in self._dna_spec.elements)
        if not self._decisions:
            raise SearchSpaceError(
                f"search space {name!r} has no decision; found {type(hyper_value).__name__}, "
                "expected a PyGlove value with pg.oneof(...) in it"
            )
        self._cardinalities = tuple(len(decision.literals) for decision in self._decisions)
        self._json = tuple(
            tuple(f"{json.dumps(decision.name)}: {json.dumps(text)}" for text in decision.literals)
            for decision in self._decisions
        )
        self._index = {
            decision.name: {literal: i for i, literal in enumerate(decision.literals)}
            for decision in self._decisions
        }
        self._references = MappingProxyType(
            {key: self._encode(key, value) for key, value in (references or {}).items()}
        )

    @property
    def name(self) -> str:
        """How users call the space."""
        return self._name

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, in the order in which `choices` lists them."""
        return self._decisions

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of candidates of each decision."""
        return self._cardinalities

    @property
    def size(self) -> int:
        """Number of points in the space."""
        return math.prod(self._cardinalities)

    @property
    def references(self) -> Mapping[str, str]:
        """`nas_params_str` of the known networks in the space, by name."""
        return self._references

    def nas_params_str(self, choices: Sequence[int]) -> str:
        """`choices` as JSON with literal values, e.g. `{"blocks[0].kernel_size": "1/2 (5)"}`.

        Raises:
          NasParamsError: a choice too many, too few or out of range.
        """
        if len(choices) != len(self._decisions):
            raise NasParamsError(
                f"found {len(choices)} choices; search space {self._name!r} has "
                f"{len(self._decisions)} decisions"
            )
        parts = []
        for i, choice in enumerate(choices):
            if not 0 <= choice < self._cardinalities[i]:
                raise NasParamsError(
                    f"{self._decisions[i].name}: found choice {choice}; expected 0 to "
                    f"{self._cardinalities[i] - 1}"
                )
            parts.append(self._json[i][choice])
        return "{" + ", ".join(parts) + "}"

    def choices(self, nas_params_str: str) -> tuple[int, ...]:
        """The index of the candidate taken for each decision; inverse of `nas_params_str`.

        Raises:
          NasParamsError: not JSON, or a key missing, unknown or with a value that is not
              one of the decision's literals; names the key, what was found and what was
              expected.
        """
        params = _parse(nas_params_str)
        try:
            found = tuple(self._index[decision.name][params[decision.name]] for decision in self._decisions)
        except (KeyError, TypeError):  # TypeError: the value is a list or an object.
            raise NasParamsError(self._misfit(params)) from None
        if len(found) != len(params):
            raise NasParamsError(self._misfit(params))
        return found

    def materialize(self, nas_params_str: str) -> Any:
        """The concrete object of the user's class, e.g. an `MnasNet` with its blocks.

        Takes tens of milliseconds: for trainers, not for controllers.

        Raises:
          NasParamsError: as `choices`.
        """
        # `pg.materialize` would derive the DNASpec anew, which costs more than all the rest.
        dna = pg.DNA.from_numbers(list(self.choices(nas_params_str)), self._dna_spec)
        return self._template.decode(dna)

    def __repr__(self) -> str:
        return f"SearchSpace({self._name!r}, {len(self._decisions)} decisions)"

    def _encode(self, reference: str, value: Any) -> str:
        try:
            dna = self._template.encode(value)
        except ValueError as error:
            raise SearchSpaceError(
                f"search space {self._name!r} does not hold its reference {reference!r}: {error}"
            ) from error
        return self.nas_params_str(dna.to_numbers())

    def _misfit(self, params: Mapping[str, Any]) -> str:
        """Why `params`, which do not fit, do not fit."""
        where = f"nas_params_str does not fit search space {self._name!r}"
        for decision in self._decisions:
            expected = "expected one of " + ", ".join(map(json.dumps, decision.literals))
            if decision.name not in params:
                return f"{where}: key {json.dumps(decision.name)} is missing; {expected}"
            value = params[decision.name]
            if value not in decision.literals:
                key = json.dumps(decision.name)
                return f"{where}: key {key}: found {json.dumps(value)}; {expected}"
        unknown = next(key for key in params if key not in self._index)
        return (
            f"{where}: found key {json.dumps(unknown)}; expected only the "
            f"{len(self._decisions)} decisions {self._decisions[0].name} … "
            f"{self._decisions[-1].name}"
        )


def _decision(space: str, point: Any) -> Decision:
    """The flat decision that a decision point of PyGlove is, if it is one."""
    where = f"search space {space!r}: decision {str(point.id)!r}"
    if not isinstance(point, pg.geno.Choices):
        raise SearchSpaceError(
            f"{where} is a {type(point).__name__}; expected pg.oneof(...) over listed values"
        )
    if point.num_choices != 1:
        raise SearchSpaceError(
            f"{where} makes {point.num_choices} choices from one list (pg.manyof); expected "
            "one pg.oneof(...) per choice"
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
    return Decision(name=str(point.id), literals=literals)


def _parse(nas_params_str: str) -> dict[str, Any]:
    try:
        params = json.loads(nas_params_str)
    except (TypeError, ValueError) as error:
        raise NasParamsError(
            f"nas_params_str is not JSON: found {_shortened(nas_params_str)} ({error}); expected "
            'an object such as {"blocks[0].kernel_size": "1/2 (5)", …}'
        ) from error
    if not isinstance(params, dict):
        raise NasParamsError(f"nas_params_str: found {_shortened(nas_params_str)}; expected a JSON object")
    return params


def _shortened(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
