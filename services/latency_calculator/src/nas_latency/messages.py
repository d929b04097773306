"""What a calculator and its child process say to each other, and how a measurement can fail."""

import dataclasses
import enum
import json
from dataclasses import dataclass
from typing import Any

DEFAULT_REPETITIONS = 100
DEFAULT_TIMEOUT_SECONDS = 300.0


class Failure(enum.Enum):
    """Why there is no result."""

    # The options are wrong, or say too little about the input: every model will fail with them.
    INVALID_OPTIONS = "INVALID_OPTIONS"
    # There is no such directory here; another machine may see it.
    NOT_FOUND = "NOT_FOUND"
    # No SavedModel, or one that cannot be loaded or run.
    INVALID_MODEL = "INVALID_MODEL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    # The child process died.
    CRASHED = "CRASHED"
    TIMED_OUT = "TIMED_OUT"


class MeasureError(Exception):
    """A measurement without a result; the message says what was found and what was expected.

    Who should retry, and whether it helps, depends on `failure`.
    """

    def __init__(self, failure: Failure, message: str):
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class InputOptions:
    """What the caller says about the input where the model's signature leaves it open.

    Attributes:
      batch_size: inputs per inference; None: what the signature says, else 1.
      image_height, image_width: in pixels; None: the signature must say.
    """

    batch_size: int | None = None
    image_height: int | None = None
    image_width: int | None = None


@dataclass(frozen=True)
class MeasureRequest:
    """One SavedModel to be measured.

    Attributes:
      saved_model_dir: local directory of the SavedModel.
      runtime: name of the runtime that executes it.
      inputs: see `InputOptions`.
      repetitions: timed inferences.
      timeout_seconds: limit for the whole measurement, from the moment the device is free.
    """

    saved_model_dir: str
    runtime: str = "tensorflow"
    inputs: InputOptions = InputOptions()
    repetitions: int = DEFAULT_REPETITIONS
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS


@dataclass(frozen=True)
class MeasureResult:
    """What was measured. Latencies are of one inference, its outputs fetched to the host.

    Attributes:
      count: timed inferences.
      warmup_count: untimed inferences before them.
      memory_bytes: growth of the child's peak resident memory over what it held, with the
        runtime imported, before the model was loaded.
      load_ms: reading the SavedModel.
      first_inference_ms: the first inference, which traces and plans.
      batch_size: inputs per inference.
    """

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


@dataclass(frozen=True)
class Job:
    """What the child is told, once, on its standard input.

    Attributes:
      lock_path: file whose lock stands for the device.
      threads: threads one inference may use.
      memory_limit_bytes: heap the child may have.
    """

    request: MeasureRequest
    lock_path: str
    threads: int
    memory_limit_bytes: int


class Stage(enum.Enum):
    """How far the child has got. The values complete "it took too long while …"."""

    WAITING = "waiting for the device"
    IMPORTING = "importing the runtime"
    LOADING = "loading the model"
    WARMING_UP = "running the first inferences"
    TIMING = "timing inferences"


@dataclass(frozen=True)
class Report:
    """One line of the child: a stage it has reached, its result, or why there is none."""

    stage: Stage | None = None
    result: MeasureResult | None = None
    failure: Failure | None = None
    message: str = ""


def job_to_json(job: Job) -> str:
    """`job` in one line."""
    return json.dumps(dataclasses.asdict(job))


def job_from_json(line: str) -> Job:
    """Inverse of `job_to_json`."""
    fields = json.loads(line)
    request = fields.pop("request")
    inputs = InputOptions(**request.pop("inputs"))
    return Job(request=MeasureRequest(inputs=inputs, **request), **fields)


def report_to_json(report: Report) -> str:
    """`report` in one line."""
    fields: dict[str, Any] = {"message": report.message}
    if report.stage is not None:
        fields["stage"] = report.stage.name
    if report.result is not None:
        fields["result"] = dataclasses.asdict(report.result)
    if report.failure is not None:
        fields["failure"] = report.failure.value
    return json.dumps(fields)


def report_from_json(line: str | bytes) -> Report:
    """Inverse of `report_to_json`.

    Raises:
      ValueError: the line is none that a child of this version writes.
    """
    try:
        fields = json.loads(line)
        return Report(
            stage=Stage[fields["stage"]] if "stage" in fields else None,
            result=MeasureResult(**fields["result"]) if "result" in fields else None,
            failure=Failure(fields["failure"]) if "failure" in fields else None,
            message=fields["message"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"unexpected report {line!r}") from error
