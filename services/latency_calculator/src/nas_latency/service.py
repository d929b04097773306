"""`nas.v1.LatencyService`: measures for anyone with a SavedModel on this machine."""

import asyncio
import threading

import grpc
import grpc.aio
from nas.v1 import latency_service_pb2, latency_service_pb2_grpc

from nas_latency import convert
from nas_latency.calculator import Calculator
from nas_latency.messages import Failure, MeasureError
from nas_shared.rpc import Server, build_server

_STATUS = {
    Failure.INVALID_OPTIONS: grpc.StatusCode.INVALID_ARGUMENT,
    Failure.NOT_FOUND: grpc.StatusCode.INVALID_ARGUMENT,
    Failure.INVALID_MODEL: grpc.StatusCode.INVALID_ARGUMENT,
    Failure.OUT_OF_MEMORY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Failure.CRASHED: grpc.StatusCode.INTERNAL,
    Failure.TIMED_OUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class LatencyServicer(latency_service_pb2_grpc.LatencyServiceServicer):
    """Answers `MeasureLatency`. A caller that hangs up ends its measurement."""

    def __init__(self, calculator: Calculator):
        self._calculator = calculator

    async def MeasureLatency(
        self,
        request: latency_service_pb2.MeasureLatencyRequest,
        context: grpc.aio.ServicerContext,
    ) -> latency_service_pb2.LatencyMeasurement:
        """See the proto."""
        measure_request = convert.request_from_proto(request.saved_model_dir, request.options)
        unwanted = threading.Event()
        try:
            result = await asyncio.to_thread(self._calculator.measure, measure_request, unwanted.is_set)
        except MeasureError as error:
            await context.abort(_STATUS[error.failure], str(error))
        finally:
            unwanted.set()
        return convert.result_to_proto(result, self._calculator.device_type)


def build(listen: str, calculator: Calculator, token: str | None) -> Server:
    """A server with this service in it, not started yet. See `nas_shared.rpc.build_server`."""
    name = latency_service_pb2.DESCRIPTOR.services_by_name["LatencyService"].full_name
    server = build_server(listen, [name], token=token)
    latency_service_pb2_grpc.add_LatencyServiceServicer_to_server(
        LatencyServicer(calculator), server.grpc_server
    )
    return server
