"""Does the MEASURE tasks of searches."""

from nas.v1 import resources_pb2

from nas_latency import convert
from nas_latency.calculator import Calculator, Stopped
from nas_latency.messages import Failure, MeasureError
from nas_shared.work import Outcome, TaskFailed, TaskRun, TaskStopped

# Failure: (what the orchestrator is told, whether another attempt may end better)
_REASONS: dict[Failure, tuple[resources_pb2.FailureReason, bool]] = {
    Failure.INVALID_OPTIONS: (resources_pb2.INVALID_JOB, False),
    Failure.NOT_FOUND: (resources_pb2.INVALID_MODEL, True),
    Failure.INVALID_MODEL: (resources_pb2.INVALID_MODEL, False),
    # Trainers beside it may have held the memory.
    Failure.OUT_OF_MEMORY: (resources_pb2.RESOURCE_EXHAUSTED, True),
    Failure.CRASHED: (resources_pb2.INTERNAL, True),
    # It would cost the same time again.
    Failure.TIMED_OUT: (resources_pb2.TIMEOUT, False),
}


class MeasureHandler:
    """Measures the SavedModel of a trial on the calculator's device."""

    def __init__(self, calculator: Calculator):
        self._calculator = calculator

    def handle(self, run: TaskRun) -> Outcome:
        """Measures; the metrics are those of `convert.result_to_metrics`, at step 0.

        Raises:
          TaskFailed: there is no result, for the reason it names.
          TaskStopped: the run was asked to stop; the child process is gone.
        """
        work = run.task.measure
        request = convert.request_from_proto(work.saved_model_dir, work.options)
        try:
            result = self._calculator.measure(request, lambda: run.should_stop)
        except Stopped as error:
            raise TaskStopped from error
        except MeasureError as error:
            reason, retryable = _REASONS[error.failure]
            raise TaskFailed(reason, str(error), retryable=retryable) from error
        return Outcome(step=0, metrics=convert.result_to_metrics(result))
