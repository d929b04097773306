"""The next proposal of every running job, ready before it is asked for."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nas_orchestrator.domain.job import AlgorithmSpec, Job
from nas_orchestrator.search.algorithm import Algorithm, Choices, SettledTrial, build_algorithm
from nas_shared import search_spaces
from nas_shared.search_spaces import SearchSpace


@dataclass(frozen=True, slots=True)
class Proposal:
    """An architecture, and how many settled trials the algorithm knew when it chose it."""

    number: int
    choices: Choices
    nas_params_str: str
    proposed_after: int


# Plans of jobs that were never stored are not forgotten by an end of theirs.
_MAX_PLANS = 1000

# Settled trials of a job after the first `count`, in the order in which they settled.
HistoryReader = Callable[[int, int], Iterable[SettledTrial]]


class Proposals:
    """Keeps one algorithm per running job and works one proposal ahead of each.

    The algorithms are a cache: they are built from the job's spec and its history whenever they are
    missing, so a restart, or another orchestrator that settles trials of the same job, changes nothing.
    Proposals are taken in transactions that may yet be undone: a plan counts only for the specification
    it was made for, should its job never be stored and another one get the id.

    Args:
      read_history: called on the planning thread with (job id, count) to learn what is new.
    """

    def __init__(self, read_history: HistoryReader):
        self._read_history = read_history
        self._plans: dict[int, _Plan] = {}
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proposals")

    def take(self, job: Job, number: int) -> Proposal:
        """The proposal for trial `number`: the prepared one, or one made now from what is known."""
        return self._plan_of(job).take(number)

    def prepare(self, job: Job) -> None:
        """Gets to know a job that an earlier process has begun, and works ahead of it."""
        self._plan_of(job)
        self.prepare_next(job.id)

    def prepare_next(self, job_id: int) -> None:
        """Catches up with the history and proposes the next trial, on a thread of its own."""
        plan = self._plans.get(job_id)
        if plan is not None and plan.request():
            self._thread.submit(plan.prepare, self._read_history)

    def forget(self, job_id: int) -> None:
        """Drops what is kept for a job that has ended."""
        with self._lock:
            self._plans.pop(job_id, None)

    def close(self) -> None:
        """Waits for the planning thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _plan_of(self, job: Job) -> "_Plan":
        with self._lock:
            plan = self._plans.get(job.id)
            made_for = (job.spec.search_space, job.spec.algorithm)
            if plan is None or plan.made_for != made_for:
                space = search_spaces.load(job.spec.search_space)
                algorithm = build_algorithm(job.spec.algorithm, space.cardinalities)
                plan = _Plan(job.id, made_for, space, algorithm)
                plan.catch_up(self._read_history)
                self._plans[job.id] = plan
                if len(self._plans) > _MAX_PLANS:
                    del self._plans[next(iter(self._plans))]
            return plan


class _Plan:
    """The algorithm of one job, what it has been told, and the proposal in store."""

    def __init__(
        self, job_id: int, made_for: tuple[str, AlgorithmSpec], space: SearchSpace, algorithm: Algorithm
    ):
        self.made_for = made_for
        self._job_id = job_id
        self._space = space
        self._algorithm = algorithm
        self._told = 0
        self._next_number = 1
        self._prepared: Proposal | None = None
        self._requested = False
        self._lock = threading.Lock()

    def take(self, number: int) -> Proposal:
        with self._lock:
            self._next_number = number + 1
            prepared, self._prepared = self._prepared, None
            if prepared is not None and prepared.number == number:
                return prepared
            return self._propose(number)

    def request(self) -> bool:
        """Whether a preparation has to be started: one that waits serves every request before it runs."""
        requested, self._requested = self._requested, True
        return not requested

    def prepare(self, read_history: HistoryReader) -> None:
        self._requested = False
        with self._lock:
            self._learn(read_history)
            self._prepared = self._propose(self._next_number)

    def catch_up(self, read_history: HistoryReader) -> None:
        with self._lock:
            self._learn(read_history)

    def _learn(self, read_history: HistoryReader) -> None:
        for trial in read_history(self._job_id, self._told):
            self._algorithm.tell(trial)
            self._told += 1

    def _propose(self, number: int) -> Proposal:
        choices = self._algorithm.propose(number)
        return Proposal(number, choices, self._space.nas_params_str(choices), self._told)
