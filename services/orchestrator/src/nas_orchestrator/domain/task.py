"""Task: one piece of work for one worker, and the lease that decides who owns it."""

import enum
from dataclasses import dataclass

from nas_orchestrator.domain import names
from nas_shared.errors import FailedPrecondition, LeaseLost


class TaskKind(enum.StrEnum):
    """What a worker is to do."""

    TRAIN = "TRAIN"
    MEASURE = "MEASURE"


class TaskState(enum.StrEnum):
    """Where a task stands; the transitions are listed in `nas_orchestrator.domain`."""

    QUEUED = "QUEUED"
    LEASED = "LEASED"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


# A task whose worker was lost so often takes its worker with it: it is not tried again.
MAX_LOSSES = 5


@dataclass(slots=True)
class Task:
    """One piece of work for one worker.

    Attributes:
      device_type: which workers may claim it: the accelerator (TRAIN, "" is CPU) or device (MEASURE).
      attempt: 1 for the first worker, one more for each further.
      losses: attempts that ended with a lost lease or a failure worth another try.
      saved_model_dir: MEASURE: what to measure.
      lease_worker, lease_token, lease_expiry: who holds it, the secret, and until when (seconds since
        the epoch); empty and 0 unless LEASED. The token stays when its holder ends the lease, so that a
        repeated answer is known again.
      claim_id: request id of the claim that leased it.
      stop_requested: the holder is to let go at the next renewal.
      version: counts stored changes; the store's guard against writing over somebody else's.
    """

    job_id: int
    trial_number: int
    kind: TaskKind
    device_type: str
    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    losses: int = 0
    saved_model_dir: str = ""
    lease_worker: str = ""
    lease_token: str = ""
    lease_expiry: float = 0.0
    claim_id: str = ""
    stop_requested: bool = False
    version: int = 0

    @property
    def name(self) -> str:
        """`searchJobs/{job}/trials/{trial}/tasks/{train|measure}`"""
        return names.task_name(self.job_id, self.trial_number, self.kind.lower())

    @property
    def is_open(self) -> bool:
        """Whether somebody works on it or still may."""
        return self.state in (TaskState.QUEUED, TaskState.LEASED)

    def lease(self, worker: str, token: str, claim_id: str, expiry: float) -> None:
        """Hands the task to `worker` until `expiry`.

        Raises:
          FailedPrecondition: unless QUEUED.
        """
        if self.state is not TaskState.QUEUED:
            raise FailedPrecondition(f"{self.name} is {self.state}; only QUEUED tasks can be leased")
        self.state = TaskState.LEASED
        self.attempt += 1
        self.lease_worker, self.lease_token, self.claim_id = worker, token, claim_id
        self.lease_expiry = expiry

    def renew(self, token: str, expiry: float) -> None:
        """Extends the lease. A lease that ran out but was not taken away is still the holder's.

        Raises:
          LeaseLost: if `token` does not hold the task; so too below.
        """
        self.check_holder(token)
        self.lease_expiry = expiry

    def complete(self, token: str) -> bool:
        """The work is done. Returns False if this very holder has said so before."""
        if self.state is TaskState.DONE and token == self.lease_token:
            return False
        self.check_holder(token)
        self._end(TaskState.DONE)
        return True

    def fail(self, token: str) -> None:
        """The work failed for good; `was_let_go_by` knows whether this very holder has said so before."""
        self.check_holder(token)
        self._end(TaskState.FAILED)

    def was_let_go_by(self, token: str) -> bool:
        """Whether this very holder has released or failed the task before, and the answer got lost."""
        ended = self.state not in (TaskState.LEASED, TaskState.DONE)
        return ended and token != "" and token == self.lease_token

    def requeue(self, *, lost: bool, taken: bool = False) -> bool:
        """Ends the lease so that another worker may go on.

        Args:
          lost: whether it counts as a loss; a worker that gives back in good order is none.
          taken: the holder has not asked for it; whatever it still says is refused.
        Returns:
          False when it was lost too often: then it has FAILED instead.
        """
        if self.state is not TaskState.LEASED:
            raise FailedPrecondition(f"{self.name} is {self.state}; only LEASED tasks can be queued again")
        self.losses += lost
        may_go_on = self.losses < MAX_LOSSES
        self._end(TaskState.QUEUED if may_go_on else TaskState.FAILED)
        if taken:
            self.lease_token = ""
        return may_go_on

    def cancel(self) -> None:
        """Ends a task that nobody needs any more."""
        if not self.is_open:
            raise FailedPrecondition(f"{self.name} is {self.state}; only open tasks can be cancelled")
        self._end(TaskState.CANCELLED)

    def request_stop(self) -> None:
        """Cancels a queued task at once; asks the holder of a leased one to let go."""
        if self.state is TaskState.QUEUED:
            self.cancel()
        elif self.state is TaskState.LEASED:
            self.stop_requested = True

    def check_holder(self, token: str) -> None:
        """Raises LeaseLost unless `token` holds the task."""
        if self.state is not TaskState.LEASED or token != self.lease_token:
            raise LeaseLost(
                f"{self.name} is {self.state}, attempt {self.attempt}; the token quoted does not hold it"
            )

    def _end(self, state: TaskState) -> None:
        self.state = state
        self.lease_worker, self.lease_expiry, self.claim_id = "", 0.0, ""
        self.stop_requested = False
