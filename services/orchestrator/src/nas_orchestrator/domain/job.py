"""Job: one search, and the limits that end it."""

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nas_orchestrator.domain import names
from nas_orchestrator.domain.trial import Trial, TrialState
from nas_shared.errors import FailedPrecondition, InvalidArgument
from nas_shared.reward import RewardSpec


class JobState(enum.StrEnum):
    """Where a job stands; the transitions are listed in `nas_orchestrator.domain`."""

    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AlgorithmKind(enum.StrEnum):
    """Which algorithm proposes."""

    RANDOM = "RANDOM"
    REGULARIZED_EVOLUTION = "REGULARIZED_EVOLUTION"


@dataclass(frozen=True)
class AlgorithmSpec:
    """Which algorithm proposes, and its parameters.

    Attributes:
      seed: the same seed and history give the same proposals.
      population_size: REGULARIZED_EVOLUTION: living parents, and first random trials.
      tournament_size: REGULARIZED_EVOLUTION: parents compared per proposal.
    """

    kind: AlgorithmKind = AlgorithmKind.REGULARIZED_EVOLUTION
    seed: int = 0
    population_size: int = 50
    tournament_size: int = 10


# A free slot is filled in the transaction that frees it: more than this would hold up everybody else.
MAX_OPEN_TRIALS = 10_000


@dataclass(frozen=True)
class Limits:
    """When a job ends and how much of it runs at once; see `Limits` of the protos."""

    max_trial_count: int
    max_parallel_trial_count: int
    max_failed_trial_count: int = 0

    def validate(self) -> None:
        """Raises InvalidArgument, naming the field, if a count is too small or no store can bear it."""
        for name, least in (
            ("max_trial_count", 1),
            ("max_parallel_trial_count", 1),
            ("max_failed_trial_count", 0),
        ):
            found = getattr(self, name)
            if found < least:
                raise InvalidArgument(f"limits.{name}: found {found}; expected {least} or more")
        if min(self.max_parallel_trial_count, self.max_trial_count) > MAX_OPEN_TRIALS:
            raise InvalidArgument(
                f"limits.max_parallel_trial_count: found {self.max_parallel_trial_count}; "
                f"expected at most {MAX_OPEN_TRIALS}"
            )


@dataclass(frozen=True)
class TrainSpec:
    """What the trainers are given; an empty accelerator type is CPU."""

    flags: Mapping[str, str] = field(default_factory=dict)
    accelerator_type: str = ""
    accelerator_count: int = 0


@dataclass(frozen=True)
class MeasureSpec:
    """How SavedModels are measured; zeros leave the choice to the calculator."""

    device_type: str
    runtime: str = ""
    batch_size: int = 0
    image_width: int = 0
    image_height: int = 0
    repetitions: int = 0
    timeout_seconds: float = 0.0


@dataclass(frozen=True)
class JobSpec:
    """What is searched and how. `measure` None: no SavedModel is measured."""

    search_space: str
    algorithm: AlgorithmSpec
    reward: RewardSpec
    limits: Limits
    train: TrainSpec = field(default_factory=TrainSpec)
    measure: MeasureSpec | None = None
    root_output_dir: str = ""


@dataclass(slots=True)
class TrialCounts:
    """Trials of a job by what became of them; `created` counts all."""

    created: int = 0
    open: int = 0
    succeeded: int = 0
    infeasible: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def settled(self) -> int:
        """Trials that count towards `max_trial_count`."""
        return self.succeeded + self.infeasible + self.failed


@dataclass(slots=True)
class Job:
    """One search.

    Attributes:
      output_dir: `<root_output_dir>/<display_name>_<YYYYmmdd_HHMMSS>`, or "".
      best_trial: number of the best succeeded trial; 0 before the first.
      version: counts stored changes; the store's guard against writing over somebody else's.
    """

    id: int
    display_name: str
    spec: JobSpec
    create_time: float
    output_dir: str = ""
    state: JobState = JobState.RUNNING
    error_message: str = ""
    counts: TrialCounts = field(default_factory=TrialCounts)
    best_trial: int = 0
    best_reward: float | None = None
    end_time: float | None = None
    version: int = 0

    @property
    def name(self) -> str:
        """`searchJobs/{job}`"""
        return names.job_name(self.id)

    @property
    def has_ended(self) -> bool:
        """Whether the job is in a terminal state."""
        return self.state not in (JobState.RUNNING, JobState.CANCELLING)

    @property
    def wants_trial(self) -> bool:
        """Whether a slot is free and a trial is left to fill it."""
        limits, counts = self.spec.limits, self.counts
        return (
            self.state is JobState.RUNNING
            and counts.open < limits.max_parallel_trial_count
            and counts.settled + counts.open < limits.max_trial_count
        )

    def request_trial(
        self, choices: tuple[int, ...], nas_params_str: str, proposed_after: int, now: float
    ) -> Trial:
        """Makes the next trial of a proposal; the caller has asked `wants_trial`."""
        self.counts.created += 1
        self.counts.open += 1
        number = self.counts.created
        trial_dir = f"{self.output_dir}/nas/search/{number}" if self.output_dir else ""
        return Trial(self.id, number, choices, nas_params_str, proposed_after, now, trial_dir)

    def settle(self, trial: Trial, now: float) -> None:
        """Counts a trial that has just reached a terminal state, and ends the job at its limits."""
        counts = self.counts
        counts.open -= 1
        match trial.state:
            case TrialState.SUCCEEDED:
                counts.succeeded += 1
                assert trial.reward is not None
                if self.best_reward is None or trial.reward > self.best_reward:
                    self.best_trial, self.best_reward = trial.number, trial.reward
            case TrialState.INFEASIBLE:
                counts.infeasible += 1
            case TrialState.FAILED:
                counts.failed += 1
            case TrialState.CANCELLED:
                counts.cancelled += 1
            case _:
                raise FailedPrecondition(
                    f"{trial.name} is {trial.state}; only trials that have ended are counted"
                )
        limits = self.spec.limits
        if self.state is JobState.CANCELLING and counts.open == 0:
            self._end(JobState.CANCELLED, now)
        elif self.state is JobState.RUNNING and trial.state is TrialState.FAILED and self._failed_too_often():
            self.fail(
                f"{counts.failed} of {counts.settled} trials failed; "
                f"the last, trial {trial.number}: {trial.error_message}",
                now,
            )
        elif self.state is JobState.RUNNING and counts.settled >= limits.max_trial_count:
            self._end(JobState.SUCCEEDED, now)

    def fail(self, message: str, now: float) -> None:
        """The job cannot go on; the caller stops its open trials.

        Raises:
          FailedPrecondition: unless RUNNING.
        """
        if self.state is not JobState.RUNNING:
            raise FailedPrecondition(f"{self.name} is {self.state}; only RUNNING jobs can fail")
        self.error_message = message
        self._end(JobState.FAILED, now)

    def cancel(self, now: float) -> bool:
        """Stops proposing; the caller stops the open trials. Returns False when it had ended already."""
        if self.state is not JobState.RUNNING:
            return False
        self.state = JobState.CANCELLING
        if self.counts.open == 0:
            self._end(JobState.CANCELLED, now)
        return True

    def resume(self, limits: Limits | None, root_output_dir: str, now: float) -> bool:
        """Runs an ended job on. Returns False when it is running already.

        Args:
          limits: new limits; None keeps the job's own.
          root_output_dir: new root for the files of trials to come; "" keeps the directory.
          now: seconds since the epoch.
        Raises:
          FailedPrecondition: while it is CANCELLING.
          InvalidArgument: if the limits leave no trial to run.
        """
        if self.state is JobState.RUNNING:
            return False
        if self.state is JobState.CANCELLING:
            raise FailedPrecondition(f"{self.name} is CANCELLING; wait until it is CANCELLED to resume it")
        limits = limits or self.spec.limits
        limits.validate()
        settled, failed = self.counts.settled, self.counts.failed
        if limits.max_trial_count <= settled:
            raise InvalidArgument(
                f"limits.max_trial_count: found {limits.max_trial_count}; {self.name} has settled {settled} "
                f"trials, expected more than that"
            )
        if 0 < limits.max_failed_trial_count <= failed:
            raise InvalidArgument(
                f"limits.max_failed_trial_count: found {limits.max_failed_trial_count}; {self.name} has "
                f"{failed} failed trials, expected more than that"
            )
        self.spec = replace(self.spec, limits=limits)
        if root_output_dir:
            self.spec = replace(self.spec, root_output_dir=root_output_dir)
            self.output_dir = output_dir_for(root_output_dir, self.display_name, now)
        self.state, self.error_message, self.end_time = JobState.RUNNING, "", None
        return True

    def _failed_too_often(self) -> bool:
        limits = self.spec.limits
        # When every trial has failed the job has, too, however many failures it allows.
        return self.counts.failed >= min(
            limits.max_failed_trial_count or limits.max_trial_count, limits.max_trial_count
        )

    def _end(self, state: JobState, now: float) -> None:
        self.state, self.end_time = state, now


def output_dir_for(root_output_dir: str, display_name: str, now: float) -> str:
    """`<root>/<display_name>_<YYYYmmdd_HHMMSS>` in UTC; "" for no root."""
    if not root_output_dir:
        return ""
    return f"{root_output_dir.rstrip('/')}/{display_name}_{time.strftime('%Y%m%d_%H%M%S', time.gmtime(now))}"
