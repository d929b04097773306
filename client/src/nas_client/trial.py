"""The few lines a trainer of your own needs: what am I to train, and here is how well it went.

    from nas_client import trial

    model = trial.materialize(search_space)
    ...
    trial.report(accuracy, step=epoch)

The file needs nothing but Python's standard library, so that it can also be copied into a container by
itself; `materialize` needs PyGlove, `measure_latency` gRPC and this project's protos.
Without a runner around it a program still runs: `report` prints then, and the trial's number is 0.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAS_PARAMS_FLAG = "--nas_params_str"
_MOST_OTHER_METRICS = 5


class TrialError(RuntimeError):
    """The program was not given what it asks for; the message says what, and how it is given."""


@dataclass(frozen=True)
class Latency:
    """How fast a SavedModel is on the device of a latency calculator.

    Attributes:
      device_type: e.g. `CPU`.
      runtime: what ran the model.
      count: timed inferences.
      latency_p50_ms, latency_p90_ms, latency_mean_ms, latency_std_ms, latency_min_ms: of one inference.
      memory_bytes: what the model added to the memory of the process that ran it.
    """

    device_type: str
    runtime: str
    count: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_mean_ms: float
    latency_std_ms: float
    latency_min_ms: float
    memory_bytes: int


def trial_id() -> int:
    """Number of the trial: 1, 2, 3 …; 0 when nobody runs this program as a trial."""
    return int(os.environ.get("CLOUD_ML_TRIAL_ID", "0"))


def model_dir() -> Path:
    """Directory in which to leave the SavedModel.

    Raises:
      TrialError: nobody runs this program as a trial.
    """
    return Path(_variable("AIP_MODEL_DIR", "the directory for the SavedModel"))


def nas_params(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The decisions to train, as `--nas_params_str` gives them: JSON, or the path of a `.json` file.

    Args:
      argv: arguments of the program; None: those of this process.
    Raises:
      TrialError: the flag is missing, or holds no JSON object.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    text = None
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{_NAS_PARAMS_FLAG}="):
            text = argument.partition("=")[2]
        elif argument == _NAS_PARAMS_FLAG and index + 1 < len(arguments):
            text = arguments[index + 1]
    if text is None:
        raise TrialError(f"{_NAS_PARAMS_FLAG}: missing; expected JSON or the path of a .json file")
    found = text
    try:
        if text.endswith(".json"):
            found = Path(text).read_text()
        params = json.loads(found)
    except OSError as error:
        raise TrialError(f"{_NAS_PARAMS_FLAG}={text}: {error.strerror}") from error
    except ValueError as error:
        raise TrialError(f"{_NAS_PARAMS_FLAG}: found {found[:80]!r}; expected JSON: {error}") from error
    if not isinstance(params, dict):
        raise TrialError(f"{_NAS_PARAMS_FLAG}: found {found[:80]!r}; expected a JSON object")
    return params


def materialize(search_space: Any, argv: Sequence[str] | None = None) -> Any:
    """The object of `search_space` that `nas_params` describe.

    Args:
      search_space: PyGlove value with `pg.oneof(...)` in it, the one the job searches.
      argv: as of `nas_params`.
    Raises:
      TrialError: the decisions are none of that space.
    """
    import pyglove as pg

    params = nas_params(argv)
    if type(search_space) is list:  # PyGlove reads its own lists and dicts, but not Python's.
        search_space = pg.List(search_space)
    elif type(search_space) is dict:
        search_space = pg.Dict(search_space)
    try:
        return pg.materialize(search_space, params)
    except (ValueError, KeyError) as error:
        raise TrialError(f"{_NAS_PARAMS_FLAG} does not fit the search space: {error}") from error


def report(
    metric_value: float,
    *,
    step: int,
    checkpoint_path: str = "",
    model_flops: float | None = None,
    other_metrics: Mapping[str, float] | None = None,
) -> None:
    """Reports the metric of the job at one step. The last report is the result of the trial.

    Args:
      metric_value: of the metric the reward is made of. NaN says that training went wrong.
      step: training step.
      checkpoint_path: what could be gone on from.
      model_flops: operations of one inference.
      other_metrics: up to five more, by name.
    Raises:
      ValueError: more than five other metrics, or one called like the metric itself.
      OSError: the line could not be written whole.
    """
    tag = os.environ.get("CLOUD_ML_HP_METRIC_TAG") or "metric"
    others = dict(other_metrics or {})
    if len(others) > _MOST_OTHER_METRICS:
        raise ValueError(f"other_metrics: found {len(others)}; expected at most {_MOST_OTHER_METRICS}")
    if tag in others:
        raise ValueError(f"other_metrics: found {tag!r}, the metric of the job; report it as metric_value")
    line = {
        "timestamp": str(time.time()),
        "trial": str(trial_id()),
        tag: str(float(metric_value)),
        "global_step": str(int(step)),
        "checkpoint_path": str(checkpoint_path),
    }
    if model_flops is not None:
        line["model_flops"] = str(float(model_flops))
    for index, (name, value) in enumerate(others.items()):
        line[f"key_{index}"], line[f"value_{index}"] = name, str(float(value))
    text = json.dumps(line) + "\n"
    path = os.environ.get("CLOUD_ML_HP_METRIC_FILE")
    if not path:
        print(text, end="", flush=True)
        return
    # One write of a whole line at the end of the file: who reads it meanwhile sees all of it or nothing.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(descriptor, text.encode())
        if written != len(text.encode()):
            raise OSError(f"{path}: only {written} of {len(text.encode())} bytes could be written")
    finally:
        os.close(descriptor)


def measure_latency(
    saved_model_dir: str | os.PathLike[str],
    *,
    batch_size: int = 0,
    image_width: int = 0,
    image_height: int = 0,
    repetitions: int = 0,
    timeout_seconds: float = 300.0,
    token: str | None = None,
) -> Latency:
    """Asks the latency calculator that NAS_LATENCY_ENDPOINT (`host:port`) names how fast a model is.

    Waits for its turn: a device measures one model at a time.

    Args:
      saved_model_dir: directory with `saved_model.pb`, which the calculator must see under this path.
      batch_size: inputs per inference; 0: 1.
      image_width, image_height: where the model leaves them open, in pixels.
      repetitions: timed inferences; 0: 100.
      timeout_seconds: time the measurement itself may take.
      token: bearer token, where the calculator asks for one.
    Raises:
      TrialError: there is no calculator, it does not answer, or it cannot measure this model; says why.
    """
    endpoint = _variable("NAS_LATENCY_ENDPOINT", "the host:port of a latency calculator (--listen)")
    import grpc
    from nas.v1 import latency_service_pb2, latency_service_pb2_grpc, resources_pb2

    options = resources_pb2.MeasureOptions(
        batch_size=batch_size, image_width=image_width, image_height=image_height, repetitions=repetitions
    )
    options.timeout.FromNanoseconds(int(timeout_seconds * 1e9))
    request = latency_service_pb2.MeasureLatencyRequest(
        saved_model_dir=os.path.abspath(saved_model_dir), options=options
    )
    metadata = [("authorization", f"Bearer {token}")] if token else None
    with grpc.insecure_channel(endpoint) as channel:
        stub = latency_service_pb2_grpc.LatencyServiceStub(channel)
        try:
            answer = stub.MeasureLatency(request, metadata=metadata)
        except grpc.RpcError as error:
            raise TrialError(
                f"NAS_LATENCY_ENDPOINT={endpoint}: {error.code().name}: {error.details()}"
            ) from error
    return Latency(**{name: getattr(answer, name) for name in Latency.__dataclass_fields__})


def _variable(name: str, what: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise TrialError(f"{name} is not set; expected {what}, which the runner of a trial gives")
    return value
