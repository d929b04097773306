import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_REASON_UNSPECIFIED: _ClassVar[FailureReason]
    INTERNAL: _ClassVar[FailureReason]
    NAN_LOSS: _ClassVar[FailureReason]
    INVALID_JOB: _ClassVar[FailureReason]
    INVALID_MODEL: _ClassVar[FailureReason]
    RESOURCE_EXHAUSTED: _ClassVar[FailureReason]
    TIMEOUT: _ClassVar[FailureReason]
    LEASE_EXPIRED: _ClassVar[FailureReason]
FAILURE_REASON_UNSPECIFIED: FailureReason
INTERNAL: FailureReason
NAN_LOSS: FailureReason
INVALID_JOB: FailureReason
INVALID_MODEL: FailureReason
RESOURCE_EXHAUSTED: FailureReason
TIMEOUT: FailureReason
LEASE_EXPIRED: FailureReason

class SearchJob(_message.Message):
    __slots__ = ("name", "display_name", "spec", "state", "error_message", "output_dir", "trial_counts", "best_trial", "best_reward", "create_time", "end_time", "train_trial_counts")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[SearchJob.State]
        RUNNING: _ClassVar[SearchJob.State]
        CANCELLING: _ClassVar[SearchJob.State]
        SUCCEEDED: _ClassVar[SearchJob.State]
        FAILED: _ClassVar[SearchJob.State]
        CANCELLED: _ClassVar[SearchJob.State]
    STATE_UNSPECIFIED: SearchJob.State
    RUNNING: SearchJob.State
    CANCELLING: SearchJob.State
    SUCCEEDED: SearchJob.State
    FAILED: SearchJob.State
    CANCELLED: SearchJob.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DIR_FIELD_NUMBER: _ClassVar[int]
    TRIAL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    BEST_TRIAL_FIELD_NUMBER: _ClassVar[int]
    BEST_REWARD_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TRAIN_TRIAL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    spec: SearchJobSpec
    state: SearchJob.State
    error_message: str
    output_dir: str
    trial_counts: TrialCounts
    best_trial: str
    best_reward: float
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    train_trial_counts: TrialCounts
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., spec: _Optional[_Union[SearchJobSpec, _Mapping]] = ..., state: _Optional[_Union[SearchJob.State, str]] = ..., error_message: _Optional[str] = ..., output_dir: _Optional[str] = ..., trial_counts: _Optional[_Union[TrialCounts, _Mapping]] = ..., best_trial: _Optional[str] = ..., best_reward: _Optional[float] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., train_trial_counts: _Optional[_Union[TrialCounts, _Mapping]] = ...) -> None: ...

class TrialCounts(_message.Message):
    __slots__ = ("created", "open", "succeeded", "infeasible", "failed", "cancelled")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    created: int
    open: int
    succeeded: int
    infeasible: int
    failed: int
    cancelled: int
    def __init__(self, created: _Optional[int] = ..., open: _Optional[int] = ..., succeeded: _Optional[int] = ..., infeasible: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ...) -> None: ...

class SearchJobSpec(_message.Message):
    __slots__ = ("search_space", "algorithm", "reward", "limits", "train", "measure", "root_output_dir", "train_stage")
    SEARCH_SPACE_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    ROOT_OUTPUT_DIR_FIELD_NUMBER: _ClassVar[int]
    TRAIN_STAGE_FIELD_NUMBER: _ClassVar[int]
    search_space: str
    algorithm: Algorithm
    reward: RewardSpec
    limits: Limits
    train: TrainSpec
    measure: MeasureSpec
    root_output_dir: str
    train_stage: TrainStage
    def __init__(self, search_space: _Optional[str] = ..., algorithm: _Optional[_Union[Algorithm, _Mapping]] = ..., reward: _Optional[_Union[RewardSpec, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., train: _Optional[_Union[TrainSpec, _Mapping]] = ..., measure: _Optional[_Union[MeasureSpec, _Mapping]] = ..., root_output_dir: _Optional[str] = ..., train_stage: _Optional[_Union[TrainStage, _Mapping]] = ...) -> None: ...

class TrainStage(_message.Message):
    __slots__ = ("train", "frequency", "max_parallel_trial_count", "trials")
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_PARALLEL_TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    train: TrainSpec
    frequency: int
    max_parallel_trial_count: int
    trials: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, train: _Optional[_Union[TrainSpec, _Mapping]] = ..., frequency: _Optional[int] = ..., max_parallel_trial_count: _Optional[int] = ..., trials: _Optional[_Iterable[str]] = ...) -> None: ...

class Algorithm(_message.Message):
    __slots__ = ("kind", "seed", "population_size", "tournament_size")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Algorithm.Kind]
        RANDOM: _ClassVar[Algorithm.Kind]
        REGULARIZED_EVOLUTION: _ClassVar[Algorithm.Kind]
    KIND_UNSPECIFIED: Algorithm.Kind
    RANDOM: Algorithm.Kind
    REGULARIZED_EVOLUTION: Algorithm.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    POPULATION_SIZE_FIELD_NUMBER: _ClassVar[int]
    TOURNAMENT_SIZE_FIELD_NUMBER: _ClassVar[int]
    kind: Algorithm.Kind
    seed: int
    population_size: int
    tournament_size: int
    def __init__(self, kind: _Optional[_Union[Algorithm.Kind, str]] = ..., seed: _Optional[int] = ..., population_size: _Optional[int] = ..., tournament_size: _Optional[int] = ...) -> None: ...

class RewardSpec(_message.Message):
    __slots__ = ("metric", "latency_ms", "memory_mb", "multiply_adds_billion")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
    MULTIPLY_ADDS_BILLION_FIELD_NUMBER: _ClassVar[int]
    metric: str
    latency_ms: Target
    memory_mb: Target
    multiply_adds_billion: Target
    def __init__(self, metric: _Optional[str] = ..., latency_ms: _Optional[_Union[Target, _Mapping]] = ..., memory_mb: _Optional[_Union[Target, _Mapping]] = ..., multiply_adds_billion: _Optional[_Union[Target, _Mapping]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("value", "form", "alpha", "beta")
    class Form(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORM_UNSPECIFIED: _ClassVar[Target.Form]
        SOFT: _ClassVar[Target.Form]
        HARD: _ClassVar[Target.Form]
        EXPONENTS: _ClassVar[Target.Form]
    FORM_UNSPECIFIED: Target.Form
    SOFT: Target.Form
    HARD: Target.Form
    EXPONENTS: Target.Form
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    value: float
    form: Target.Form
    alpha: float
    beta: float
    def __init__(self, value: _Optional[float] = ..., form: _Optional[_Union[Target.Form, str]] = ..., alpha: _Optional[float] = ..., beta: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_trial_count", "max_parallel_trial_count", "max_failed_trial_count")
    MAX_TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_PARALLEL_TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILED_TRIAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    max_trial_count: int
    max_parallel_trial_count: int
    max_failed_trial_count: int
    def __init__(self, max_trial_count: _Optional[int] = ..., max_parallel_trial_count: _Optional[int] = ..., max_failed_trial_count: _Optional[int] = ...) -> None: ...

class TrainSpec(_message.Message):
    __slots__ = ("flags", "accelerator_type", "accelerator_count", "program")
    class FlagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    flags: _containers.ScalarMap[str, str]
    accelerator_type: str
    accelerator_count: int
    program: Program
    def __init__(self, flags: _Optional[_Mapping[str, str]] = ..., accelerator_type: _Optional[str] = ..., accelerator_count: _Optional[int] = ..., program: _Optional[_Union[Program, _Mapping]] = ...) -> None: ...

class Program(_message.Message):
    __slots__ = ("image", "command", "timeout")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    image: str
    command: _containers.RepeatedScalarFieldContainer[str]
    timeout: _duration_pb2.Duration
    def __init__(self, image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class MeasureSpec(_message.Message):
    __slots__ = ("device_type", "options")
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    device_type: str
    options: MeasureOptions
    def __init__(self, device_type: _Optional[str] = ..., options: _Optional[_Union[MeasureOptions, _Mapping]] = ...) -> None: ...

class MeasureOptions(_message.Message):
    __slots__ = ("runtime", "batch_size", "image_width", "image_height", "repetitions", "timeout")
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    REPETITIONS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    runtime: str
    batch_size: int
    image_width: int
    image_height: int
    repetitions: int
    timeout: _duration_pb2.Duration
    def __init__(self, runtime: _Optional[str] = ..., batch_size: _Optional[int] = ..., image_width: _Optional[int] = ..., image_height: _Optional[int] = ..., repetitions: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("name", "state", "stage", "nas_params_str", "metrics", "reward", "latest_measurement", "error_message", "infeasible_reason", "trial_dir", "create_time", "start_time", "end_time", "train_attempts", "proposed_after", "failure_reason", "source_trial")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Trial.State]
        REQUESTED: _ClassVar[Trial.State]
        ACTIVE: _ClassVar[Trial.State]
        STOPPING: _ClassVar[Trial.State]
        SUCCEEDED: _ClassVar[Trial.State]
        INFEASIBLE: _ClassVar[Trial.State]
        FAILED: _ClassVar[Trial.State]
        CANCELLED: _ClassVar[Trial.State]
    STATE_UNSPECIFIED: Trial.State
    REQUESTED: Trial.State
    ACTIVE: Trial.State
    STOPPING: Trial.State
    SUCCEEDED: Trial.State
    INFEASIBLE: Trial.State
    FAILED: Trial.State
    CANCELLED: Trial.State
    class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STAGE_UNSPECIFIED: _ClassVar[Trial.Stage]
        SEARCH: _ClassVar[Trial.Stage]
        TRAIN: _ClassVar[Trial.Stage]
    STAGE_UNSPECIFIED: Trial.Stage
    SEARCH: Trial.Stage
    TRAIN: Trial.Stage
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    NAS_PARAMS_STR_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    LATEST_MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_REASON_FIELD_NUMBER: _ClassVar[int]
    TRIAL_DIR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TRAIN_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_AFTER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TRIAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Trial.State
    stage: Trial.Stage
    nas_params_str: str
    metrics: _containers.ScalarMap[str, float]
    reward: float
    latest_measurement: Measurement
    error_message: str
    infeasible_reason: str
    trial_dir: str
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    train_attempts: int
    proposed_after: int
    failure_reason: FailureReason
    source_trial: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Trial.State, str]] = ..., stage: _Optional[_Union[Trial.Stage, str]] = ..., nas_params_str: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., reward: _Optional[float] = ..., latest_measurement: _Optional[_Union[Measurement, _Mapping]] = ..., error_message: _Optional[str] = ..., infeasible_reason: _Optional[str] = ..., trial_dir: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., train_attempts: _Optional[int] = ..., proposed_after: _Optional[int] = ..., failure_reason: _Optional[_Union[FailureReason, str]] = ..., source_trial: _Optional[str] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("step", "metrics", "measure_time")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MEASURE_TIME_FIELD_NUMBER: _ClassVar[int]
    step: int
    metrics: _containers.ScalarMap[str, float]
    measure_time: _timestamp_pb2.Timestamp
    def __init__(self, step: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., measure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
