"""Regularised evolution: the best of a random sample of the young has a child with one change."""

from collections import deque
from collections.abc import Sequence

from nas_orchestrator.search.algorithm import Choices, SettledTrial, rng_of, sample_uniformly


class RegularizedEvolution:
    """Ageing evolution (Real et al., "Regularized Evolution for Image Classifier Architecture Search",
    arXiv 1802.01548, algorithm 1).

    The first `population_size` trials are random. After them, `tournament_size` members of the
    population are drawn, the best of them is the parent, and its child differs in one decision. The
    population is the last `population_size` trials that succeeded: the oldest dies, not the worst.

    Where we differ: the paper's workers are synchronous in the listing; here trials settle in any order,
    and the age of a member is the order in which it settled. Members are drawn without replacement.
    Trials that failed never become members. While none has succeeded, proposals stay random.

    Args:
      cardinalities: choices per decision; decisions with a single choice are never mutated.
      seed: with the history, determines every proposal.
      population_size: living parents; the paper uses 100.
      tournament_size: parents compared per proposal; the paper uses 25.
    """

    def __init__(
        self, cardinalities: Sequence[int], seed: int, *, population_size: int, tournament_size: int
    ):
        self._cardinalities = tuple(cardinalities)
        self._mutable = tuple(i for i, cardinality in enumerate(cardinalities) if cardinality > 1)
        self._seed = seed
        self._population_size = population_size
        self._tournament_size = tournament_size
        self._population: deque[tuple[float, Choices]] = deque(maxlen=population_size)

    def tell(self, trial: SettledTrial) -> None:
        """Adds a trial that has a reward to the population, whose oldest member dies when it is full."""
        if trial.reward is not None:
            self._population.append((trial.reward, trial.choices))

    def propose(self, number: int) -> Choices:
        """A random architecture for the first generation, then the child of a tournament's winner."""
        rng = rng_of(self._seed, number)
        if number <= self._population_size or not self._population or not self._mutable:
            return sample_uniformly(self._cardinalities, rng)
        size = min(self._tournament_size, len(self._population))
        contestants = rng.sample(range(len(self._population)), size)
        # Of equals the younger wins: a plateau is walked, not camped on.
        winner = max(contestants, key=lambda i: (self._population[i][0], i))
        child = list(self._population[winner][1])
        decision = rng.choice(self._mutable)
        # Drawn among the other choices, so that a child never is its parent.
        step = rng.randrange(1, self._cardinalities[decision])
        child[decision] = (child[decision] + step) % self._cardinalities[decision]
        return tuple(child)
