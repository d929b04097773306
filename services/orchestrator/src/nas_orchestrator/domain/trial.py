"""Trial: one architecture and what became of it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from nas_orchestrator.domain import names
from nas_shared.errors import FailedPrecondition


class Stage(enum.StrEnum):
    """What a trial is for: finding an architecture, or training one that was found."""

    SEARCH = "SEARCH"
    TRAIN = "TRAIN"


class TrialState(enum.StrEnum):
    """Where a trial stands; the transitions are listed in `nas_orchestrator.domain`."""

    REQUESTED = "REQUESTED"
    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    INFEASIBLE = "INFEASIBLE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


OPEN_STATES = (TrialState.REQUESTED, TrialState.ACTIVE, TrialState.STOPPING)


@dataclass(slots=True)
class Trial:
    """One architecture and what became of it.

    Attributes:
      choices: the architecture as indices, one per decision of the search space.
      proposed_after: settled trials the algorithm knew when it proposed this one.
      trial_dir: directory of its files; "" when the job writes none.
      trained, measured: which halves of the work are in.
      metrics: final metrics by name.
      latest_step, latest_metrics: last intermediate measurement.
      settled_order: 1 for the first search trial of the job that settled; 0 while open, when cancelled, and
        in stage TRAIN, of which the algorithm never hears.
      winning_attempt: attempt of the TRAIN task that completed.
      train_attempts: workers that were handed the training.
      failure_reason: name of a `FailureReason` of the protos when FAILED or INFEASIBLE.
      stage: SEARCH, or TRAIN for stage 2.
      source_trial: stage TRAIN: name of the search trial whose architecture this is.
      version: counts stored changes; the store's guard against writing over somebody else's.
    """

    job_id: int
    number: int
    choices: tuple[int, ...]
    nas_params_str: str
    proposed_after: int
    create_time: float
    trial_dir: str = ""
    state: TrialState = TrialState.REQUESTED
    trained: bool = False
    measured: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    reward: float | None = None
    latest_step: int = 0
    latest_metrics: dict[str, float] = field(default_factory=dict)
    error_message: str = ""
    failure_reason: str = ""
    infeasible_reason: str = ""
    settled_order: int = 0
    winning_attempt: int = 0
    train_attempts: int = 0
    start_time: float | None = None
    end_time: float | None = None
    stage: Stage = Stage.SEARCH
    source_trial: str = ""
    version: int = 0

    @property
    def name(self) -> str:
        """`searchJobs/{job}/trials/{trial}`"""
        return names.trial_name(self.job_id, self.number)

    @property
    def is_open(self) -> bool:
        """Whether work on it goes on or may begin."""
        return self.state in OPEN_STATES

    def attempt_dir(self, attempt: int) -> str:
        """Directory an attempt of the training writes to; "" when the job writes no files."""
        return f"{self.trial_dir}/attempts/{attempt}" if self.trial_dir else ""

    def start(self, now: float) -> bool:
        """A worker has claimed one of its tasks. Returns whether that was the first."""
        if self.state is not TrialState.REQUESTED:
            return False
        self.state, self.start_time = TrialState.ACTIVE, now
        return True

    def add_training(self, metrics: Mapping[str, float], attempt: int) -> None:
        """Stores the trainer's final metrics and the attempt they came from."""
        self.metrics.update(metrics)
        self.trained, self.winning_attempt = True, attempt

    def add_measurement(self, metrics: Mapping[str, float]) -> None:
        """Stores the latency calculator's metrics."""
        self.metrics.update(metrics)
        self.measured = True

    def succeed(self, reward: float, order: int, now: float) -> None:
        """Trained and measured.

        Args:
          reward: what the trial is worth.
          order: its place among the settled trials of the job.
          now: seconds since the epoch.
        Raises:
          FailedPrecondition: unless ACTIVE.
        """
        self._check_in(TrialState.ACTIVE, to="succeed")
        self.state, self.reward = TrialState.SUCCEEDED, reward
        self.settled_order, self.end_time = order, now

    def reject(self, failure_reason: str, reason: str, order: int, now: float) -> None:
        """Ran, but cannot count; the job does not take it for a failure."""
        self._check_in(TrialState.ACTIVE, to="be infeasible")
        self.state, self.failure_reason, self.infeasible_reason = (
            TrialState.INFEASIBLE,
            failure_reason,
            reason,
        )
        self.settled_order, self.end_time = order, now

    def fail(self, failure_reason: str, message: str, order: int, now: float) -> None:
        """Could not be run."""
        self._check_in(TrialState.REQUESTED, TrialState.ACTIVE, to="fail")
        self.state, self.failure_reason, self.error_message = TrialState.FAILED, failure_reason, message
        self.settled_order, self.end_time = order, now

    def stop(self) -> None:
        """Nobody needs it any more."""
        self._check_in(TrialState.REQUESTED, TrialState.ACTIVE, to="stop")
        self.state = TrialState.STOPPING

    def cancel(self, now: float) -> None:
        """No worker holds a task of it any more."""
        self._check_in(TrialState.STOPPING, to="be cancelled")
        self.state, self.end_time = TrialState.CANCELLED, now

    def _check_in(self, *states: TrialState, to: str) -> None:
        if self.state not in states:
            raise FailedPrecondition(
                f"{self.name} is {self.state}; only {' or '.join(states)} trials can {to}"
            )
