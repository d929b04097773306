"""Random search: every architecture is equally likely, whatever was learnt."""

from collections.abc import Sequence

from nas_orchestrator.search.algorithm import Choices, SettledTrial, rng_of, sample_uniformly


class RandomSearch:
    """Uniform and independent proposals; the base line of Li and Talwalkar (arXiv 1902.07638).

    Args:
      cardinalities: choices per decision.
      seed: the same seed gives the same architecture for a trial number, always.
    """

    def __init__(self, cardinalities: Sequence[int], seed: int):
        self._cardinalities = tuple(cardinalities)
        self._seed = seed

    def tell(self, trial: SettledTrial) -> None:
        """Learns nothing."""

    def propose(self, number: int) -> Choices:
        """A uniform sample that depends on seed and number alone."""
        return sample_uniformly(self._cardinalities, rng_of(self._seed, number))
