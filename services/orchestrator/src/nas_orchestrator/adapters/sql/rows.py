"""Between rows and domain objects."""

import json
from functools import lru_cache
from typing import Any

from google.protobuf import json_format
from nas.v1 import resources_pb2

from nas_orchestrator.adapters.rpc.convert import spec_from_proto, spec_to_proto
from nas_orchestrator.domain import events
from nas_orchestrator.domain.events import Event
from nas_orchestrator.domain.job import Job, JobSpec, JobState, TrialCounts
from nas_orchestrator.domain.task import Task, TaskKind, TaskState
from nas_orchestrator.domain.trial import Stage, Trial, TrialState

_COUNTS = ("created", "open", "succeeded", "infeasible", "failed", "cancelled")
_compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@lru_cache(maxsize=256)
def _spec_to_text(spec: "_ById") -> str:
    return json_format.MessageToJson(spec_to_proto(spec.spec), indent=None)


class _ById:
    """A spec as a cache key: specs are immutable, but hold dictionaries and so have no hash."""

    def __init__(self, spec: JobSpec):
        self.spec = spec

    def __hash__(self) -> int:
        return id(self.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.spec is other.spec


@lru_cache(maxsize=256)
def _spec_from_text(text: str) -> JobSpec:
    return spec_from_proto(json_format.Parse(text, resources_pb2.SearchJobSpec()))


def job_from_row(row: Any) -> Job:
    """A job of a row of `jobs`."""
    return Job(
        id=row.id,
        display_name=row.display_name,
        spec=_spec_from_text(row.spec),
        create_time=row.create_time,
        output_dir=row.output_dir,
        state=JobState(row.state),
        error_message=row.error_message,
        counts=TrialCounts(row.created, row.open, row.succeeded, row.infeasible, row.failed, row.cancelled),
        train_counts=TrialCounts(**{name: getattr(row, f"train_{name}") for name in _COUNTS}),
        train_due=row.train_due,
        best_trial=row.best_trial,
        best_reward=row.best_reward,
        end_time=row.end_time,
        version=row.version,
    )


def job_to_row(job: Job) -> dict[str, Any]:
    """Columns of a job but its keys."""
    return {
        "display_name": job.display_name,
        "spec": _spec_to_text(_ById(job.spec)),
        "output_dir": job.output_dir,
        "state": job.state,
        "error_message": job.error_message,
        **{name: getattr(job.counts, name) for name in _COUNTS},
        **{f"train_{name}": getattr(job.train_counts, name) for name in _COUNTS},
        "train_due": job.train_due,
        "best_trial": job.best_trial,
        "best_reward": job.best_reward,
        "create_time": job.create_time,
        "end_time": job.end_time,
        "version": job.version,
    }


def trial_from_row(row: Any) -> Trial:
    """A trial of a row of `trials`."""
    return Trial(
        job_id=row.job_id,
        number=row.number,
        choices=tuple(map(int, row.choices.split(","))),
        nas_params_str=row.nas_params_str,
        proposed_after=row.proposed_after,
        create_time=row.create_time,
        trial_dir=row.trial_dir,
        state=TrialState(row.state),
        trained=bool(row.trained),
        measured=bool(row.measured),
        metrics=json.loads(row.metrics),
        reward=row.reward,
        latest_step=row.latest_step,
        latest_metrics=json.loads(row.latest_metrics),
        error_message=row.error_message,
        failure_reason=row.failure_reason,
        infeasible_reason=row.infeasible_reason,
        settled_order=row.settled_order,
        winning_attempt=row.winning_attempt,
        train_attempts=row.train_attempts,
        start_time=row.start_time,
        end_time=row.end_time,
        stage=Stage(row.stage),
        source_trial=row.source_trial,
        version=row.version,
    )


def trial_to_row(trial: Trial) -> dict[str, Any]:
    """Columns of a trial but its keys."""
    return {
        "choices": ",".join(map(str, trial.choices)),
        "nas_params_str": trial.nas_params_str,
        "proposed_after": trial.proposed_after,
        "trial_dir": trial.trial_dir,
        "state": trial.state,
        "trained": trial.trained,
        "measured": trial.measured,
        "metrics": _compact(trial.metrics),
        "reward": trial.reward,
        "latest_step": trial.latest_step,
        "latest_metrics": _compact(trial.latest_metrics),
        "error_message": trial.error_message,
        "failure_reason": trial.failure_reason,
        "infeasible_reason": trial.infeasible_reason,
        "settled_order": trial.settled_order,
        "winning_attempt": trial.winning_attempt,
        "train_attempts": trial.train_attempts,
        "create_time": trial.create_time,
        "start_time": trial.start_time,
        "end_time": trial.end_time,
        "stage": trial.stage,
        "source_trial": trial.source_trial,
        "version": trial.version,
    }


def task_from_row(row: Any) -> Task:
    """A task of a row of `tasks`."""
    return Task(
        job_id=row.job_id,
        trial_number=row.trial_number,
        kind=TaskKind(row.kind),
        device_type=row.device_type,
        state=TaskState(row.state),
        attempt=row.attempt,
        losses=row.losses,
        saved_model_dir=row.saved_model_dir,
        lease_worker=row.lease_worker,
        lease_token=row.lease_token,
        lease_expiry=row.lease_expiry,
        claim_id=row.claim_id,
        stop_requested=bool(row.stop_requested),
        version=row.version,
    )


def task_to_row(task: Task) -> dict[str, Any]:
    """Columns of a task but its keys."""
    return {
        "device_type": task.device_type,
        "state": task.state,
        "attempt": task.attempt,
        "losses": task.losses,
        "saved_model_dir": task.saved_model_dir,
        "lease_worker": task.lease_worker,
        "lease_token": task.lease_token,
        "lease_expiry": task.lease_expiry,
        "claim_id": task.claim_id,
        "stop_requested": task.stop_requested,
        "version": task.version,
    }


_EVENTS = {cls.__name__: cls for cls in (events.TaskReady, events.TrialChanged, events.JobChanged)}


def event_to_row(event: Event) -> dict[str, str]:
    """Columns of an event but its id."""
    payload = {name: getattr(event, name) for name in event.__slots__}
    return {"type": type(event).__name__, "payload": _compact(payload)}


def event_from_row(row: Any) -> Event:
    """An event of a row of `outbox`."""
    fields = json.loads(row.payload)
    if row.type == "TaskReady":
        fields["kind"] = TaskKind(fields["kind"])
    return _EVENTS[row.type](**fields)
