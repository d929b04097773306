"""Between the protos and this service's own messages."""

import dataclasses

from nas.v1 import latency_service_pb2, resources_pb2

from nas_latency import runtimes
from nas_latency.messages import (
    DEFAULT_REPETITIONS,
    DEFAULT_TIMEOUT_SECONDS,
    InputOptions,
    MeasureRequest,
    MeasureResult,
)


def request_from_proto(saved_model_dir: str, options: resources_pb2.MeasureOptions) -> MeasureRequest:
    """The request, with defaults where the message holds nothing."""
    timeout = options.timeout.ToTimedelta().total_seconds()
    return MeasureRequest(
        saved_model_dir=saved_model_dir,
        runtime=options.runtime or runtimes.NAMES[0],
        inputs=InputOptions(
            batch_size=options.batch_size or None,
            image_height=options.image_height or None,
            image_width=options.image_width or None,
        ),
        repetitions=options.repetitions or DEFAULT_REPETITIONS,
        timeout_seconds=timeout if options.HasField("timeout") else DEFAULT_TIMEOUT_SECONDS,
    )


def result_to_proto(result: MeasureResult, device_type: str) -> latency_service_pb2.LatencyMeasurement:
    """The result as `LatencyService` answers it."""
    return latency_service_pb2.LatencyMeasurement(device_type=device_type, **dataclasses.asdict(result))


def result_to_metrics(result: MeasureResult) -> dict[str, float]:
    """The result as metrics of a trial, units in their names."""
    return {
        "latency_p50_ms": result.latency_p50_ms,
        "latency_p90_ms": result.latency_p90_ms,
        "latency_mean_ms": result.latency_mean_ms,
        "latency_std_ms": result.latency_std_ms,
        "latency_min_ms": result.latency_min_ms,
        "latency_count": float(result.count),
        "memory_bytes": float(result.memory_bytes),
        "load_ms": result.load_ms,
        "first_inference_ms": result.first_inference_ms,
    }
