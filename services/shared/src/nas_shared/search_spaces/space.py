"""A search space as a flat list of choices, beside PyGlove's object of it.

PyGlove is the language in which spaces and `nas_params_str` are written. It takes tens of
milliseconds per proposal, so its DNASpec is read once, here, and what happens thousands of
times per search (proposing, storing, reading back) works on tuples of integers.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyglove as pg

from nas_shared.search_spaces.encoding import (
    Arrangement,
    Decision,
    NasParamsError,
    SearchSpaceError,
    encoding_of,
)


class SearchSpace:
    """A flat search space: every decision point is decided once.

    A point of the space is `choices`, a row of integers each of which may be changed independently
    of the others (see `encoding.py`), or `nas_params_str`, the candidate taken for each decision in
    JSON. Objects are immutable and may be shared by threads.
    """

    def __init__(
        self,
        name: str,
        hyper_value: Any,
        references: Mapping[str, Any] | None = None,
        network: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> None:
        """Reads the decisions of `hyper_value`.

        Args:
          name: how users call the space.
          hyper_value: PyGlove object (or list, or dict) with `pg.oneof` in it.
          references: known points of the space as concrete objects, by name.
          network: what the values of the decisions, by name, build; its `repr` is equal for equal
              networks. None: different values are different networks.
        Raises:
          SearchSpaceError: there is no decision in it, one of a kind that is not supported
              (conditional, a range of numbers), or a reference lies outside the space.
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
        self._network = network
        self._encodings = tuple(
            encoding_of(point, f"search space {name!r}: decision {str(point.id)!r}")
            for point in self._dna_spec.elements
        )
        self._decisions = tuple(decision for encoding in self._encodings for decision in encoding.decisions)
        if not self._decisions:
            raise SearchSpaceError(
                f"search space {name!r} has no decision; found {type(hyper_value).__name__}, "
                "expected a PyGlove value with pg.oneof(...) in it"
            )
        self._cardinalities = tuple(
            cardinality for encoding in self._encodings for cardinality in encoding.cardinalities
        )
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
        """All decisions, in the order in which `nas_params_str` lists them."""
        return self._decisions

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of values of each of the `choices`."""
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
        if len(choices) != len(self._cardinalities):
            raise NasParamsError(
                f"found {len(choices)} choices; search space {self._name!r} has "
                f"{len(self._cardinalities)} decisions"
            )
        for i, choice in enumerate(choices):
            if not 0 <= choice < self._cardinalities[i]:
                raise NasParamsError(
                    f"{self._name_of_choice(i)}: found choice {choice}; expected 0 to "
                    f"{self._cardinalities[i] - 1}"
                )
        candidates = self._candidates(choices)
        return "{" + ", ".join(self._json[i][candidate] for i, candidate in enumerate(candidates)) + "}"

    def choices(self, nas_params_str: str) -> tuple[int, ...]:
        """The index of the candidate taken for each decision; inverse of `nas_params_str`.

        Raises:
          NasParamsError: not JSON, or a key missing, unknown or with a value that is not
              one of the decision's literals; names the key, what was found and what was
              expected.
        """
        candidates = self._candidates_in(nas_params_str)
        digits: list[int] = []
        start = 0
        for encoding in self._encodings:
            end = start + len(encoding.decisions)
            try:
                digits += encoding.digits(candidates[start:end])
            except NasParamsError as error:
                raise NasParamsError(
                    f"nas_params_str does not fit search space {self._name!r}: {error}"
                ) from None
            start = end
        return tuple(digits)

    def identity(self, nas_params_str: str) -> str:
        """A short text that is the same for two points of the space that build the same network.

        Raises:
          NasParamsError: as `choices`.
        """
        candidates = self._candidates(self.choices(nas_params_str))
        values = {
            decision.name: decision.values[candidate]
            for decision, candidate in zip(self._decisions, candidates, strict=True)
        }
        network: object = tuple(values.values())
        if self._network is not None:
            network = self._network({name: ast.literal_eval(value) for name, value in values.items()})
        return hashlib.sha256(repr(network).encode()).hexdigest()[:32]

    def materialize(self, nas_params_str: str) -> Any:
        """The concrete object of the user's class, e.g. an `MnasNet` with its blocks.

        Takes tens of milliseconds: for trainers, not for controllers.

        Raises:
          NasParamsError: as `choices`.
        """
        # `pg.materialize` would derive the DNASpec anew, which costs more than all the rest.
        dna = pg.DNA.from_numbers(list(self._candidates(self.choices(nas_params_str))), self._dna_spec)
        return self._template.decode(dna)

    def __repr__(self) -> str:
        return f"SearchSpace({self._name!r}, {len(self._decisions)} decisions)"

    def _candidates(self, choices: Sequence[int]) -> Sequence[int]:
        """The candidate of each decision."""
        candidates: list[int] = []
        start = 0
        for encoding in self._encodings:
            end = start + len(encoding.cardinalities)
            candidates += encoding.candidates(choices[start:end])
            start = end
        return candidates

    def _candidates_in(self, nas_params_str: str) -> Sequence[int]:
        """The candidate of each decision, which need not go together."""
        params = _parse(nas_params_str)
        try:
            found = [self._index[decision.name][params[decision.name]] for decision in self._decisions]
        except (KeyError, TypeError):  # TypeError: the value is a list or an object.
            raise NasParamsError(self._misfit(params)) from None
        if len(found) != len(params):
            raise NasParamsError(self._misfit(params))
        return found

    def _name_of_choice(self, i: int) -> str:
        for encoding in self._encodings:
            if i < len(encoding.cardinalities):
                return encoding.decisions[min(i, len(encoding.decisions) - 1)].name
            i -= len(encoding.cardinalities)
        raise IndexError(i)

    def _encode(self, reference: str, value: Any) -> str:
        try:
            dna = self._template.encode(value)
        except ValueError as error:
            raise SearchSpaceError(
                f"search space {self._name!r} does not hold its reference {reference!r}: {error}"
            ) from error
        candidates: list[int] = []
        numbers = dna.to_numbers()
        for encoding in self._encodings:
            found = numbers[len(candidates) : len(candidates) + len(encoding.decisions)]
            # Of equal candidates PyGlove finds the first, always.
            candidates += encoding.told_apart(found) if isinstance(encoding, Arrangement) else found
        return "{" + ", ".join(self._json[i][candidate] for i, candidate in enumerate(candidates)) + "}"

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
