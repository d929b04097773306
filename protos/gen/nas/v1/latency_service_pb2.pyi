from google.api import field_behavior_pb2 as _field_behavior_pb2
from nas.v1 import resources_pb2 as _resources_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MeasureLatencyRequest(_message.Message):
    __slots__ = ("saved_model_dir", "options")
    SAVED_MODEL_DIR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    saved_model_dir: str
    options: _resources_pb2.MeasureOptions
    def __init__(self, saved_model_dir: _Optional[str] = ..., options: _Optional[_Union[_resources_pb2.MeasureOptions, _Mapping]] = ...) -> None: ...

class LatencyMeasurement(_message.Message):
    __slots__ = ("device_type", "runtime", "count", "latency_p50_ms", "latency_p90_ms", "latency_mean_ms", "latency_std_ms", "latency_min_ms", "warmup_count", "memory_bytes", "load_ms", "first_inference_ms", "batch_size")
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P90_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MEAN_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_STD_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MIN_MS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    device_type: str
    runtime: str
    count: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_mean_ms: float
    latency_std_ms: float
    latency_min_ms: float
    warmup_count: int
    memory_bytes: int
    load_ms: float
    first_inference_ms: float
    batch_size: int
    def __init__(self, device_type: _Optional[str] = ..., runtime: _Optional[str] = ..., count: _Optional[int] = ..., latency_p50_ms: _Optional[float] = ..., latency_p90_ms: _Optional[float] = ..., latency_mean_ms: _Optional[float] = ..., latency_std_ms: _Optional[float] = ..., latency_min_ms: _Optional[float] = ..., warmup_count: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., load_ms: _Optional[float] = ..., first_inference_ms: _Optional[float] = ..., batch_size: _Optional[int] = ...) -> None: ...
