import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from nas.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(_message.Message):
    __slots__ = ("name", "kind", "attempt", "train", "measure")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Task.Kind]
        TRAIN: _ClassVar[Task.Kind]
        MEASURE: _ClassVar[Task.Kind]
    KIND_UNSPECIFIED: Task.Kind
    TRAIN: Task.Kind
    MEASURE: Task.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Task.Kind
    attempt: int
    train: TrainWork
    measure: MeasureWork
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Task.Kind, str]] = ..., attempt: _Optional[int] = ..., train: _Optional[_Union[TrainWork, _Mapping]] = ..., measure: _Optional[_Union[MeasureWork, _Mapping]] = ...) -> None: ...

class TrainWork(_message.Message):
    __slots__ = ("trial_number", "search_space", "nas_params_str", "reward_metric", "trial_dir", "attempt_dir", "spec", "measured", "stage", "source_trial_dir")
    TRIAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    SEARCH_SPACE_FIELD_NUMBER: _ClassVar[int]
    NAS_PARAMS_STR_FIELD_NUMBER: _ClassVar[int]
    REWARD_METRIC_FIELD_NUMBER: _ClassVar[int]
    TRIAL_DIR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_DIR_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TRIAL_DIR_FIELD_NUMBER: _ClassVar[int]
    trial_number: int
    search_space: str
    nas_params_str: str
    reward_metric: str
    trial_dir: str
    attempt_dir: str
    spec: _resources_pb2.TrainSpec
    measured: bool
    stage: _resources_pb2.Trial.Stage
    source_trial_dir: str
    def __init__(self, trial_number: _Optional[int] = ..., search_space: _Optional[str] = ..., nas_params_str: _Optional[str] = ..., reward_metric: _Optional[str] = ..., trial_dir: _Optional[str] = ..., attempt_dir: _Optional[str] = ..., spec: _Optional[_Union[_resources_pb2.TrainSpec, _Mapping]] = ..., measured: _Optional[bool] = ..., stage: _Optional[_Union[_resources_pb2.Trial.Stage, str]] = ..., source_trial_dir: _Optional[str] = ...) -> None: ...

class MeasureWork(_message.Message):
    __slots__ = ("trial_number", "saved_model_dir", "device_type", "options")
    TRIAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    SAVED_MODEL_DIR_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    trial_number: int
    saved_model_dir: str
    device_type: str
    options: _resources_pb2.MeasureOptions
    def __init__(self, trial_number: _Optional[int] = ..., saved_model_dir: _Optional[str] = ..., device_type: _Optional[str] = ..., options: _Optional[_Union[_resources_pb2.MeasureOptions, _Mapping]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("token", "expire_time", "length")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    token: str
    expire_time: _timestamp_pb2.Timestamp
    length: _duration_pb2.Duration
    def __init__(self, token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., length: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ClaimTaskRequest(_message.Message):
    __slots__ = ("worker_id", "request_id", "kind", "device_type", "wait", "task")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    request_id: str
    kind: Task.Kind
    device_type: str
    wait: _duration_pb2.Duration
    task: str
    def __init__(self, worker_id: _Optional[str] = ..., request_id: _Optional[str] = ..., kind: _Optional[_Union[Task.Kind, str]] = ..., device_type: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., task: _Optional[str] = ...) -> None: ...

class ClaimTaskResponse(_message.Message):
    __slots__ = ("task", "lease")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    task: Task
    lease: Lease
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class RenewLeaseRequest(_message.Message):
    __slots__ = ("name", "lease_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    lease_token: str
    def __init__(self, name: _Optional[str] = ..., lease_token: _Optional[str] = ...) -> None: ...

class RenewLeaseResponse(_message.Message):
    __slots__ = ("lease", "stop")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    stop: bool
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ..., stop: _Optional[bool] = ...) -> None: ...

class ReportMeasurementRequest(_message.Message):
    __slots__ = ("name", "lease_token", "measurement", "saved_model_dir")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    SAVED_MODEL_DIR_FIELD_NUMBER: _ClassVar[int]
    name: str
    lease_token: str
    measurement: _resources_pb2.Measurement
    saved_model_dir: str
    def __init__(self, name: _Optional[str] = ..., lease_token: _Optional[str] = ..., measurement: _Optional[_Union[_resources_pb2.Measurement, _Mapping]] = ..., saved_model_dir: _Optional[str] = ...) -> None: ...

class ReportMeasurementResponse(_message.Message):
    __slots__ = ("stop",)
    STOP_FIELD_NUMBER: _ClassVar[int]
    stop: bool
    def __init__(self, stop: _Optional[bool] = ...) -> None: ...

class CompleteTaskRequest(_message.Message):
    __slots__ = ("name", "lease_token", "measurement")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    lease_token: str
    measurement: _resources_pb2.Measurement
    def __init__(self, name: _Optional[str] = ..., lease_token: _Optional[str] = ..., measurement: _Optional[_Union[_resources_pb2.Measurement, _Mapping]] = ...) -> None: ...

class CompleteTaskResponse(_message.Message):
    __slots__ = ("trial",)
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    trial: _resources_pb2.Trial
    def __init__(self, trial: _Optional[_Union[_resources_pb2.Trial, _Mapping]] = ...) -> None: ...

class FailTaskRequest(_message.Message):
    __slots__ = ("name", "lease_token", "reason", "message", "retryable", "infeasible")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    INFEASIBLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    lease_token: str
    reason: _resources_pb2.FailureReason
    message: str
    retryable: bool
    infeasible: bool
    def __init__(self, name: _Optional[str] = ..., lease_token: _Optional[str] = ..., reason: _Optional[_Union[_resources_pb2.FailureReason, str]] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ..., infeasible: _Optional[bool] = ...) -> None: ...

class FailTaskResponse(_message.Message):
    __slots__ = ("trial",)
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    trial: _resources_pb2.Trial
    def __init__(self, trial: _Optional[_Union[_resources_pb2.Trial, _Mapping]] = ...) -> None: ...

class ReleaseTaskRequest(_message.Message):
    __slots__ = ("name", "lease_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    lease_token: str
    def __init__(self, name: _Optional[str] = ..., lease_token: _Optional[str] = ...) -> None: ...

class ReleaseTaskResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
