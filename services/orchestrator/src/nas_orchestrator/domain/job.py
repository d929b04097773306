"""Job: one search, and the limits that end it."""

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nas_orchestrator.domain import names
from nas_orchestrator.domain.trial import Stage, Trial, TrialState
from nas_shared.errors import FailedPrecondition, InvalidArgument
from nas_shared.reward import RewardSpec
from nas_shared.work.pools import train_pool


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
class Program:
    """A user's own trainer: a container image, or a command on the runner's machine. 0 s: no time-out."""

    image: str = ""
    command: tuple[str, ...] = ()
    timeout_seconds: float = 0.0


@dataclass(frozen=True)
class TrainSpec:
    """What the trainers are given; an empty accelerator type is CPU, no program the prebuilt trainer."""

    flags: Mapping[str, str] = field(default_factory=dict)
    accelerator_type: str = ""
    accelerator_count: int = 0
    program: Program | None = None

    @property
    def pool(self) -> str:
        """Which workers may claim the trials."""
        return train_pool(self.accelerator_type, has_program=self.program is not None)


@dataclass(frozen=True)
class TrainStage:
    """Stage 2: full training of what a search has found.

    Attributes:
      frequency: settled search trials between two rounds.
      max_parallel: trials per round, and open at once.
      trials: names of the search trials to train, in order; the job then searches nothing.
    """

    train: TrainSpec = field(default_factory=TrainSpec)
    frequency: int = 1000
    max_parallel: int = 5
    trials: tuple[str, ...] = ()


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
    """What is searched and how. `measure` None: no SavedModel is measured; `train_stage` None: no stage 2."""

    search_space: str
    algorithm: AlgorithmSpec
    reward: RewardSpec
    limits: Limits
    train: TrainSpec = field(default_factory=TrainSpec)
    measure: MeasureSpec | None = None
    root_output_dir: str = ""
    train_stage: TrainStage | None = None

    @property
    def searches(self) -> bool:
        """Whether the job searches; one that only trains chosen trials does not."""
        return self.train_stage is None or not self.train_stage.trials

    def train_of(self, stage: Stage) -> TrainSpec:
        """What the trainers of a stage are given."""
        if stage is Stage.SEARCH:
            return self.train
        assert self.train_stage is not None
        return self.train_stage.train


@dataclass(slots=True)
class TrialCounts:
    """Trials of one stage of a job by what became of them; `created` counts all."""

    created: int = 0
    open: int = 0
    succeeded: int = 0
    infeasible: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def settled(self) -> int:
        """Trials that came to an end of their own, which `max_trial_count` counts."""
        return self.succeeded + self.infeasible + self.failed

    @property
    def wanted(self) -> int:
        """Trials that were not cancelled: those that have run, and those that still will."""
        return self.created - self.cancelled

    def add(self, trial: Trial) -> None:
        """Counts an open trial that has just ended.

        Raises:
          FailedPrecondition: if it has not.
        """
        match trial.state:
            case TrialState.SUCCEEDED:
                self.succeeded += 1
            case TrialState.INFEASIBLE:
                self.infeasible += 1
            case TrialState.FAILED:
                self.failed += 1
            case TrialState.CANCELLED:
                self.cancelled += 1
            case _:
                raise FailedPrecondition(
                    f"{trial.name} is {trial.state}; only trials that have ended are counted"
                )
        self.open -= 1


@dataclass(slots=True)
class Job:
    """One search.

    Attributes:
      output_dir: `<root_output_dir>/<display_name>_<YYYYmmdd_HHMMSS>`, or "".
      counts, train_counts: trials of the search, and of stage 2.
      train_due: trials that the rounds of stage 2 have called for so far.
      best_trial: number of the best succeeded search trial; 0 before the first.
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
    train_counts: TrialCounts = field(default_factory=TrialCounts)
    train_due: int = 0
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
        """Whether a slot of the search is free and a trial is left to fill it."""
        limits, counts = self.spec.limits, self.counts
        return (
            self.state is JobState.RUNNING
            and self.spec.searches
            and counts.open < limits.max_parallel_trial_count
            and counts.settled + counts.open < limits.max_trial_count
        )

    @property
    def wants_train_trial(self) -> bool:
        """Whether a slot of stage 2 is free and a round has called for a trial to fill it."""
        stage = self.spec.train_stage
        return (
            self.state is JobState.RUNNING
            and stage is not None
            and self.train_counts.open < stage.max_parallel
            and self.train_counts.wanted < self.train_due
        )

    def request_trial(
        self, choices: tuple[int, ...], nas_params_str: str, proposed_after: int, now: float
    ) -> Trial:
        """Makes the next search trial of a proposal; the caller has asked `wants_trial`."""
        number, trial_dir = self._next_trial(Stage.SEARCH)
        return Trial(self.id, number, choices, nas_params_str, proposed_after, now, trial_dir)

    def request_train_trial(self, source: Trial, now: float) -> Trial:
        """Makes the stage-2 trial of a search trial; the caller has asked `wants_train_trial`."""
        number, trial_dir = self._next_trial(Stage.TRAIN)
        trial = Trial(self.id, number, source.choices, source.nas_params_str, 0, now, trial_dir)
        trial.stage, trial.source_trial = Stage.TRAIN, source.name
        return trial

    def _next_trial(self, stage: Stage) -> tuple[int, str]:
        """Counts a new trial; its number, from one sequence for both stages, and its directory."""
        number = self.counts.created + self.train_counts.created + 1
        counts = self.counts_of(stage)
        counts.created += 1
        counts.open += 1
        return number, f"{self.output_dir}/nas/{stage.lower()}/{number}" if self.output_dir else ""

    def counts_of(self, stage: Stage) -> TrialCounts:
        """The counts of a stage."""
        return self.counts if stage is Stage.SEARCH else self.train_counts

    def next_order(self, trial: Trial) -> int:
        """The `settled_order` of a trial that settles now."""
        return self.counts.settled + 1 if trial.stage is Stage.SEARCH else 0

    def start_chosen(self) -> None:
        """Calls for the trials that the job was asked to train, in place of rounds."""
        assert self.spec.train_stage is not None
        self.train_due = len(self.spec.train_stage.trials)

    def end_rounds(self) -> None:
        """No network is left that could be trained: what the rounds still called for lapses."""
        self.train_due = self.train_counts.wanted

    def settle(self, trial: Trial, now: float) -> None:
        """Counts a trial that has just ended; too many failures end the job.

        Settled search trials call for rounds of stage 2: one after every `frequency`, and one when the
        search ends with a rest.
        """
        self.counts_of(trial.stage).add(trial)
        if trial.stage is Stage.SEARCH:
            self._count_search(trial, now)
        if self.state is JobState.CANCELLING and self._open == 0:
            self._end(JobState.CANCELLED, now)

    def _count_search(self, trial: Trial, now: float) -> None:
        counts = self.counts
        if trial.state is TrialState.SUCCEEDED:
            assert trial.reward is not None
            if self.best_reward is None or trial.reward > self.best_reward:
                self.best_trial, self.best_reward = trial.number, trial.reward
        if self.state is JobState.RUNNING and trial.state is TrialState.FAILED and self._failed_too_often():
            self.fail(
                f"{counts.failed} of {counts.settled} trials failed; "
                f"the last, trial {trial.number}: {trial.error_message}",
                now,
            )
        stage = self.spec.train_stage
        is_through = counts.settled >= self.spec.limits.max_trial_count
        if stage is None or trial.state is TrialState.CANCELLED:
            return
        if is_through or counts.settled % stage.frequency == 0:
            self.train_due += stage.max_parallel

    def finish(self, now: float) -> None:
        """Ends a running job of which nothing is left to run; the caller has filled every free slot."""
        is_through = not self.spec.searches or self.counts.settled >= self.spec.limits.max_trial_count
        if self.state is not JobState.RUNNING or not is_through or self._open:
            return
        trained = self.train_counts
        if trained.failed and trained.failed == trained.settled:
            self.fail(f"all {trained.failed} trials of stage 2 failed", now)
        else:
            self._end(JobState.SUCCEEDED, now)

    @property
    def _open(self) -> int:
        return self.counts.open + self.train_counts.open

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
        if self._open == 0:
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
        is_training_left = self.train_counts.wanted < self.train_due
        if not self.spec.searches:
            if not is_training_left:
                raise InvalidArgument(f"{self.name} has trained every trial it was asked to; nothing is left")
            limits = self.spec.limits
        else:
            self._check_resumable(limits, is_training_left)
        self.spec = replace(self.spec, limits=limits)
        if root_output_dir:
            self.spec = replace(self.spec, root_output_dir=root_output_dir)
            self.output_dir = output_dir_for(root_output_dir, self.display_name, now)
        self.state, self.error_message, self.end_time = JobState.RUNNING, "", None
        return True

    def _check_resumable(self, limits: Limits, is_training_left: bool) -> None:
        limits.validate()
        settled, failed = self.counts.settled, self.counts.failed
        if limits.max_trial_count < settled or (limits.max_trial_count == settled and not is_training_left):
            raise InvalidArgument(
                f"limits.max_trial_count: found {limits.max_trial_count}; {self.name} has settled {settled} "
                f"trials, expected more than that"
            )
        if 0 < limits.max_failed_trial_count <= failed:
            raise InvalidArgument(
                f"limits.max_failed_trial_count: found {limits.max_failed_trial_count}; {self.name} has "
                f"{failed} failed trials, expected more than that"
            )

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
