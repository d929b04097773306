"""The interface of every search algorithm.

An algorithm sees a search space as a row of decisions with so many choices each, and a proposal as
one index per decision. It holds nothing that cannot be had again: built anew and told the same
settled trials in the same order, it makes the same proposals.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_orchestrator.domain.job import AlgorithmKind, AlgorithmSpec
from nas_shared.errors import InvalidArgument

Choices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SettledTrial:
    """A trial the algorithm learns from.

    Attributes:
      number: its number in the job.
      choices: the architecture, one index per decision.
      reward: higher is better; None when the trial failed or was infeasible.
    """

    number: int
    choices: Choices
    reward: float | None


class Algorithm(Protocol):
    """Proposes architectures."""

    def tell(self, trial: SettledTrial) -> None:
        """Learns of a settled trial. Called once per trial, in the order in which they settled."""

    def propose(self, number: int) -> Choices:
        """The architecture of trial `number`, given what it was told. The same call gives the same answer."""


def build_algorithm(spec: AlgorithmSpec, cardinalities: Sequence[int]) -> Algorithm:
    """The algorithm of `spec` on a space with `cardinalities[i]` choices for decision i."""
    from nas_orchestrator.search.random_search import RandomSearch
    from nas_orchestrator.search.regularized_evolution import RegularizedEvolution

    match spec.kind:
        case AlgorithmKind.RANDOM:
            return RandomSearch(cardinalities, spec.seed)
        case AlgorithmKind.REGULARIZED_EVOLUTION:
            return RegularizedEvolution(
                cardinalities,
                spec.seed,
                population_size=spec.population_size,
                tournament_size=spec.tournament_size,
            )


def validate_algorithm(spec: AlgorithmSpec) -> None:
    """Raises InvalidArgument, naming the field, if a parameter is out of range."""
    if spec.population_size < 1:
        raise InvalidArgument(f"algorithm.population_size: found {spec.population_size}; expected 1 or more")
    if not 1 <= spec.tournament_size <= spec.population_size:
        raise InvalidArgument(
            f"algorithm.tournament_size: found {spec.tournament_size}; expected 1 to population_size "
            f"({spec.population_size})"
        )


def rng_of(seed: int, number: int) -> random.Random:
    """The source of randomness of one proposal: a function of the job's seed and the trial's number.

    Seeding with text goes through SHA-512 in CPython, so neighbouring numbers share nothing, and the
    stream does not depend on the interpreter's hash seed.
    """
    return random.Random(f"{seed}/{number}")


def sample_uniformly(cardinalities: Sequence[int], rng: random.Random) -> Choices:
    """One architecture, every choice of every decision equally likely."""
    return tuple(rng.randrange(cardinality) for cardinality in cardinalities)
