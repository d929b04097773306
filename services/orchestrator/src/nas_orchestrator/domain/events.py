"""What has happened, in the past tense. Events carry names, not copies of state."""

from dataclasses import dataclass

from nas_orchestrator.domain.task import TaskKind


@dataclass(frozen=True, slots=True)
class TaskReady:
    """A task waits for a worker of this kind and device type."""

    job_id: int
    trial_number: int
    kind: TaskKind
    device_type: str


@dataclass(frozen=True, slots=True)
class TrialChanged:
    """A trial is in a new state."""

    job_id: int
    trial_number: int
    state: str


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job is in a new state."""

    job_id: int
    state: str


Event = TaskReady | TrialChanged | JobChanged
