"""Between messages of protos/nas/v1 and domain objects."""

import math

from google.protobuf import duration_pb2, timestamp_pb2
from nas.v1 import resources_pb2 as pb
from nas.v1 import task_service_pb2 as task_pb

from nas_orchestrator.domain import names
from nas_orchestrator.domain.job import (
    AlgorithmKind,
    AlgorithmSpec,
    Job,
    JobSpec,
    Limits,
    MeasureSpec,
    Program,
    TrainSpec,
    TrainStage,
    TrialCounts,
)
from nas_orchestrator.domain.task import Task, TaskKind
from nas_orchestrator.domain.trial import Trial
from nas_orchestrator.usecases.store import ClaimedTask
from nas_shared.errors import InvalidArgument
from nas_shared.reward import Form, RewardSpec, Target

# Longest text of an error message that is kept.
_MAX_MESSAGE = 4000
_MAX_METRICS, _MAX_METRIC_NAME = 1000, 128
# As google/protobuf/duration.proto has it.
_MAX_DURATION_SECONDS = 315_576_000_000


def timestamp(seconds: float | None) -> timestamp_pb2.Timestamp | None:
    """Seconds since the epoch as a Timestamp, to the microsecond; None stays None."""
    if seconds is None:
        return None
    micros = round(seconds * 1e6)
    return timestamp_pb2.Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as a Duration, to the microsecond."""
    micros = round(seconds * 1e6)
    return duration_pb2.Duration(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def seconds_of(found: duration_pb2.Duration, field: str) -> float:
    """A Duration as seconds.

    Raises:
      InvalidArgument: if it is none: longer than 10,000 years either way.
    """
    if abs(found.seconds) > _MAX_DURATION_SECONDS:
        raise InvalidArgument(f"{field}: found {found.seconds} s; expected at most {_MAX_DURATION_SECONDS} s")
    return found.seconds + found.nanos / 1e9


# Job specifications


def spec_from_proto(spec: pb.SearchJobSpec) -> JobSpec:
    """The specification of a job; zeros become the documented defaults.

    Raises:
      InvalidArgument: if an enum holds a value this version does not know.
    """
    defaults = AlgorithmSpec()
    kind = spec.algorithm.kind
    if kind not in pb.Algorithm.Kind.values():
        raise InvalidArgument(f"spec.algorithm.kind: found {kind}; expected a value of Algorithm.Kind")
    population_size = spec.algorithm.population_size or defaults.population_size
    return JobSpec(
        search_space=spec.search_space,
        algorithm=AlgorithmSpec(
            kind=AlgorithmKind(pb.Algorithm.Kind.Name(kind)) if kind else defaults.kind,
            seed=spec.algorithm.seed,
            population_size=population_size,
            tournament_size=spec.algorithm.tournament_size or min(defaults.tournament_size, population_size),
        ),
        reward=RewardSpec(
            metric=spec.reward.metric,
            latency_ms=_target_from(spec.reward, "latency_ms"),
            memory_mb=_target_from(spec.reward, "memory_mb"),
            multiply_adds_billion=_target_from(spec.reward, "multiply_adds_billion"),
        ),
        limits=limits_from_proto(spec.limits),
        train=_train_from(spec.train, "spec.train"),
        measure=_measure_from(spec.measure) if spec.HasField("measure") else None,
        root_output_dir=spec.root_output_dir,
        train_stage=_train_stage_from(spec.train_stage) if spec.HasField("train_stage") else None,
    )


def spec_to_proto(spec: JobSpec) -> pb.SearchJobSpec:
    """The inverse of `spec_from_proto`."""
    message = pb.SearchJobSpec(
        search_space=spec.search_space,
        algorithm=pb.Algorithm(
            kind=str(spec.algorithm.kind),
            seed=spec.algorithm.seed,
            population_size=spec.algorithm.population_size,
            tournament_size=spec.algorithm.tournament_size,
        ),
        reward=pb.RewardSpec(
            metric=spec.reward.metric,
            latency_ms=_target_to(spec.reward.latency_ms),
            memory_mb=_target_to(spec.reward.memory_mb),
            multiply_adds_billion=_target_to(spec.reward.multiply_adds_billion),
        ),
        limits=pb.Limits(
            max_trial_count=spec.limits.max_trial_count,
            max_parallel_trial_count=spec.limits.max_parallel_trial_count,
            max_failed_trial_count=spec.limits.max_failed_trial_count,
        ),
        train=train_to_proto(spec.train),
        root_output_dir=spec.root_output_dir,
    )
    if spec.measure is not None:
        message.measure.device_type = spec.measure.device_type
        message.measure.options.CopyFrom(_options_to(spec.measure))
    if spec.train_stage is not None:
        stage = spec.train_stage
        message.train_stage.CopyFrom(
            pb.TrainStage(
                train=train_to_proto(stage.train),
                frequency=stage.frequency,
                max_parallel_trial_count=stage.max_parallel,
                trials=stage.trials,
            )
        )
    return message


def limits_from_proto(limits: pb.Limits) -> Limits:
    """Limits as they stand in a request."""
    return Limits(limits.max_trial_count, limits.max_parallel_trial_count, limits.max_failed_trial_count)


def train_to_proto(train: TrainSpec) -> pb.TrainSpec:
    """What the trainers are given."""
    message = pb.TrainSpec(
        flags=dict(train.flags),
        accelerator_type=train.accelerator_type,
        accelerator_count=train.accelerator_count,
    )
    if train.program is not None:
        message.program.CopyFrom(pb.Program(image=train.program.image, command=train.program.command))
        if train.program.timeout_seconds:
            message.program.timeout.CopyFrom(duration(train.program.timeout_seconds))
    return message


def _train_from(train: pb.TrainSpec, field: str) -> TrainSpec:
    program = None
    if train.HasField("program"):
        timeout = seconds_of(train.program.timeout, f"{field}.program.timeout")
        program = Program(train.program.image, tuple(train.program.command), timeout)
    return TrainSpec(dict(train.flags), train.accelerator_type, train.accelerator_count, program)


def _train_stage_from(stage: pb.TrainStage) -> TrainStage:
    defaults = TrainStage()
    return TrainStage(
        train=_train_from(stage.train, "spec.train_stage.train"),
        frequency=stage.frequency or defaults.frequency,
        max_parallel=stage.max_parallel_trial_count or defaults.max_parallel,
        trials=tuple(stage.trials),
    )


def _target_from(reward: pb.RewardSpec, field: str) -> Target | None:
    if not reward.HasField(field):
        return None
    target: pb.Target = getattr(reward, field)
    if target.form not in pb.Target.Form.values():
        raise InvalidArgument(
            f"spec.reward.{field}.form: found {target.form}; expected a value of Target.Form"
        )
    form = Form[pb.Target.Form.Name(target.form)] if target.form else Form.SOFT
    return Target(target.value, form, target.alpha, target.beta)


def _target_to(target: Target | None) -> pb.Target | None:
    if target is None:
        return None
    return pb.Target(value=target.value, form=target.form.name, alpha=target.alpha, beta=target.beta)


def _measure_from(measure: pb.MeasureSpec) -> MeasureSpec:
    options = measure.options
    found = MeasureSpec(
        device_type=measure.device_type,
        runtime=options.runtime,
        batch_size=options.batch_size,
        image_width=options.image_width,
        image_height=options.image_height,
        repetitions=options.repetitions,
        timeout_seconds=seconds_of(options.timeout, "spec.measure.options.timeout"),
    )
    for name in ("batch_size", "image_width", "image_height", "repetitions", "timeout_seconds"):
        if getattr(found, name) < 0:
            raise InvalidArgument(
                f"spec.measure.options.{name}: found {getattr(found, name)}; expected 0 or more"
            )
    return found


def _options_to(measure: MeasureSpec) -> pb.MeasureOptions:
    options = pb.MeasureOptions(
        runtime=measure.runtime,
        batch_size=measure.batch_size,
        image_width=measure.image_width,
        image_height=measure.image_height,
        repetitions=measure.repetitions,
    )
    if measure.timeout_seconds:
        options.timeout.CopyFrom(duration(measure.timeout_seconds))
    return options


# Jobs, trials and tasks


def job_to_proto(job: Job) -> pb.SearchJob:
    """A job as people see it."""
    return pb.SearchJob(
        name=job.name,
        display_name=job.display_name,
        spec=spec_to_proto(job.spec),
        state=str(job.state),
        error_message=job.error_message,
        output_dir=job.output_dir,
        trial_counts=_counts_to(job.counts),
        train_trial_counts=_counts_to(job.train_counts),
        best_trial=names.trial_name(job.id, job.best_trial) if job.best_trial else "",
        best_reward=job.best_reward,
        create_time=timestamp(job.create_time),
        end_time=timestamp(job.end_time),
    )


def _counts_to(counts: TrialCounts) -> pb.TrialCounts:
    return pb.TrialCounts(
        created=counts.created,
        open=counts.open,
        succeeded=counts.succeeded,
        infeasible=counts.infeasible,
        failed=counts.failed,
        cancelled=counts.cancelled,
    )


def trial_to_proto(trial: Trial) -> pb.Trial:
    """A trial as people see it."""
    message = pb.Trial(
        name=trial.name,
        state=str(trial.state),
        stage=str(trial.stage),
        source_trial=trial.source_trial,
        nas_params_str=trial.nas_params_str,
        metrics=trial.metrics,
        reward=trial.reward,
        error_message=trial.error_message,
        infeasible_reason=trial.infeasible_reason,
        trial_dir=trial.trial_dir,
        create_time=timestamp(trial.create_time),
        start_time=timestamp(trial.start_time),
        end_time=timestamp(trial.end_time),
        train_attempts=trial.train_attempts,
        proposed_after=trial.proposed_after,
        failure_reason=trial.failure_reason or None,
    )
    if trial.latest_metrics:
        message.latest_measurement.CopyFrom(
            pb.Measurement(step=trial.latest_step, metrics=trial.latest_metrics)
        )
    return message


def claim_to_proto(claimed: ClaimedTask, lease_seconds: float) -> task_pb.ClaimTaskResponse:
    """A leased task as its worker sees it."""
    task, trial, spec = claimed.task, claimed.trial, claimed.job.spec
    message = task_pb.Task(name=task.name, kind=str(task.kind), attempt=task.attempt)
    if task.kind is TaskKind.TRAIN:
        message.train.CopyFrom(
            task_pb.TrainWork(
                trial_number=trial.number,
                search_space=spec.search_space,
                nas_params_str=trial.nas_params_str,
                reward_metric=spec.reward.metric,
                trial_dir=trial.trial_dir,
                attempt_dir=trial.attempt_dir(task.attempt),
                spec=train_to_proto(spec.train_of(trial.stage)),
                measured=spec.measure is not None,
                stage=str(trial.stage),
                source_trial_dir=claimed.source_trial_dir,
            )
        )
    else:
        assert spec.measure is not None
        message.measure.CopyFrom(
            task_pb.MeasureWork(
                trial_number=trial.number,
                saved_model_dir=task.saved_model_dir,
                device_type=task.device_type,
                options=_options_to(spec.measure),
            )
        )
    return task_pb.ClaimTaskResponse(task=message, lease=lease_to_proto(task, lease_seconds))


def lease_to_proto(task: Task, lease_seconds: float) -> task_pb.Lease:
    """The lease of a task."""
    return task_pb.Lease(
        token=task.lease_token, expire_time=timestamp(task.lease_expiry), length=duration(lease_seconds)
    )


def metrics_from_proto(measurement: pb.Measurement) -> dict[str, float]:
    """Metrics of a measurement.

    Raises:
      InvalidArgument: if one is not finite: JSON, databases and rewards have no room for it; or if
        there are more than any trainer has.
    """
    metrics = dict(measurement.metrics)
    if len(metrics) > _MAX_METRICS:
        raise InvalidArgument(f"measurement.metrics: found {len(metrics)}; expected at most {_MAX_METRICS}")
    for name, value in metrics.items():
        if len(name) > _MAX_METRIC_NAME:
            raise InvalidArgument(
                f"measurement.metrics: found a name of {len(name)} characters; "
                f"expected at most {_MAX_METRIC_NAME}"
            )
        if not name or not math.isfinite(value):
            raise InvalidArgument(
                f"measurement.metrics[{name!r}]: found {value}; expected a name and a finite number"
            )
    return metrics


def clipped(message: str) -> str:
    """An error message of bearable length."""
    return message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…"
