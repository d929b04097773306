"""Algorithms: pure functions of seed, history and number."""

import random
from collections import Counter

import pytest

from nas_orchestrator.domain.job import AlgorithmKind, AlgorithmSpec, Job, JobSpec, Limits
from nas_orchestrator.search.algorithm import SettledTrial, build_algorithm, validate_algorithm
from nas_orchestrator.search.proposals import Proposals
from nas_orchestrator.search.regularized_evolution import RegularizedEvolution
from nas_shared.errors import InvalidArgument
from nas_shared.reward import RewardSpec

CARDINALITIES = (3, 2, 1, 5, 4)


def history(count: int) -> list[SettledTrial]:
    rng = random.Random(0)
    return [
        SettledTrial(
            number, tuple(rng.randrange(c) for c in CARDINALITIES), None if number % 5 == 0 else rng.random()
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("kind", list(AlgorithmKind))
def test_the_same_seed_and_history_give_the_same_proposals(kind):
    spec = AlgorithmSpec(kind, seed=3, population_size=4, tournament_size=2)

    def proposals(told_before: int) -> list[tuple[int, ...]]:
        algorithm = build_algorithm(spec, CARDINALITIES)
        for trial in history(30)[:told_before]:
            algorithm.tell(trial)
        return [algorithm.propose(number) for number in range(told_before + 1, told_before + 6)]

    for told in (0, 3, 30):
        assert proposals(told) == proposals(told)


@pytest.mark.parametrize("kind", list(AlgorithmKind))
def test_what_was_proposed_before_does_not_matter(kind):
    spec = AlgorithmSpec(kind, seed=3, population_size=4, tournament_size=2)
    curious, calm = build_algorithm(spec, CARDINALITIES), build_algorithm(spec, CARDINALITIES)
    for trial in history(20):
        curious.propose(trial.number)
        curious.tell(trial)
        calm.tell(trial)
    assert curious.propose(21) == calm.propose(21)


def test_another_seed_gives_other_proposals():
    first, second = (
        build_algorithm(AlgorithmSpec(AlgorithmKind.RANDOM, seed=seed), (6,) * 40).propose(1)
        for seed in (1, 2)
    )
    assert first != second


def test_random_search_uses_every_choice_about_equally():
    algorithm = build_algorithm(AlgorithmSpec(AlgorithmKind.RANDOM, seed=0), CARDINALITIES)
    counts = Counter(algorithm.propose(number)[3] for number in range(1, 2001))
    assert set(counts) == set(range(5))
    # Binomial(2000, 1/5): 400 +- 5 standard deviations of 17.9.
    assert all(310 < count < 490 for count in counts.values())


def test_evolution_begins_at_random_and_then_mutates_one_decision_of_the_best():
    algorithm = RegularizedEvolution(CARDINALITIES, 0, population_size=5, tournament_size=5)
    assert len({algorithm.propose(number) for number in range(1, 6)}) > 1
    best = (2, 1, 0, 4, 3)
    for number in range(1, 5):
        algorithm.tell(SettledTrial(number, (0, 0, 0, 0, 0), 0.1))
    algorithm.tell(SettledTrial(5, best, 0.9))
    mutated = set()
    for number in range(6, 200):
        child = algorithm.propose(number)
        changed = [i for i in range(5) if child[i] != best[i]]
        assert len(changed) == 1
        assert 0 <= child[changed[0]] < CARDINALITIES[changed[0]]
        mutated.add(changed[0])
    assert mutated == {0, 1, 3, 4}, "every decision but the one with a single choice is mutated"


def test_the_oldest_of_the_population_dies_however_good_it_is():
    algorithm = RegularizedEvolution((10,) * 6, 0, population_size=3, tournament_size=3)
    algorithm.tell(SettledTrial(1, (9,) * 6, 1.0))
    for number in range(2, 5):
        algorithm.tell(SettledTrial(number, (0,) * 6, 0.1))
    child = algorithm.propose(5)
    assert sum(choice == 9 for choice in child) <= 1


def test_failed_trials_never_become_parents():
    algorithm = RegularizedEvolution((10,) * 6, 0, population_size=1, tournament_size=1)
    algorithm.tell(SettledTrial(1, (3,) * 6, 0.5))
    algorithm.tell(SettledTrial(2, (9,) * 6, None))
    assert sum(choice == 3 for choice in algorithm.propose(3)) == 5


@pytest.mark.parametrize(
    ("population", "tournament", "field"),
    [(0, 1, "population_size"), (5, 6, "tournament_size"), (5, 0, "tournament_size")],
)
def test_parameters_out_of_range_are_named(population, tournament, field):
    spec = AlgorithmSpec(population_size=population, tournament_size=tournament)
    with pytest.raises(InvalidArgument, match=field):
        validate_algorithm(spec)


def test_evolution_finds_a_hidden_optimum_far_faster_than_chance():
    cardinalities, target = (5,) * 12, (3,) * 12
    found = {}
    for kind in AlgorithmKind:
        algorithm = build_algorithm(
            AlgorithmSpec(kind, seed=1, population_size=20, tournament_size=5), cardinalities
        )
        rewards = []
        for number in range(1, 401):
            choices = algorithm.propose(number)
            reward = float(sum(a == b for a, b in zip(choices, target, strict=True)))
            rewards.append(reward)
            algorithm.tell(SettledTrial(number, choices, reward))
        found[kind] = max(rewards)
    assert found[AlgorithmKind.REGULARIZED_EVOLUTION] >= 10
    assert found[AlgorithmKind.RANDOM] <= 7


def test_a_prepared_proposal_is_taken_and_says_what_it_knew():
    settled: list[SettledTrial] = []
    proposals = Proposals(lambda job_id, after: settled[after:])
    spec = JobSpec(
        "mnasnet",
        AlgorithmSpec(population_size=2, tournament_size=1),
        RewardSpec("accuracy"),
        Limits(10, 2),
    )
    job = Job(1, "digits", spec, 0.0)
    first = proposals.take(job, 1)
    assert (first.number, first.proposed_after) == (1, 0)
    settled.append(SettledTrial(1, first.choices, 0.5))
    proposals.prepare_next(1)
    proposals.close()
    second = proposals.take(job, 2)
    assert (second.number, second.proposed_after) == (2, 1)
    rebuilt = Proposals(lambda job_id, after: settled[after:]).take(job, 2)
    assert rebuilt == second
