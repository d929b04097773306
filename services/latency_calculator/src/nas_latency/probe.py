"""The child process that loads and times ONE model, and ends.

A SavedModel is somebody's program. It runs here, where it can crash, hang or take all memory
and harm no one. The process is told its job in one line of standard input and answers in
lines of standard output, which it hides from the model first. Standard input stays open while
somebody waits for the result; when it closes, the process and all it started die.

Run by `calculator.py` as `python -m nas_latency.probe`.
"""

import contextlib
import fcntl
import gc
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from nas_latency import runtimes, statistics
from nas_latency.messages import (
    Failure,
    Job,
    MeasureRequest,
    MeasureResult,
    Report,
    Stage,
    job_from_json,
    report_to_json,
)

MAX_FILE_BYTES = 64 * 1024 * 1024


def main() -> None:
    """Does the one job there is."""
    channel = os.dup(1)
    os.dup2(2, 1)  # What the model prints goes to the error output.
    job = job_from_json(sys.stdin.readline())
    threading.Thread(target=die_with_parent, name="die-with-parent", daemon=True).start()

    def say(report: Report) -> None:
        os.write(channel, report_to_json(report).encode() + b"\n")

    try:
        say(Report(result=_run(job, lambda stage: say(Report(stage=stage)))))
    except runtimes.UnusableModel as error:
        say(Report(failure=Failure.INVALID_MODEL, message=str(error)))
    except runtimes.UnusableOptions as error:
        say(Report(failure=Failure.INVALID_OPTIONS, message=str(error)))
    except MemoryError as error:
        say(Report(failure=Failure.OUT_OF_MEMORY, message=str(error) or "memory ran out"))
    sys.stderr.flush()
    os._exit(0)  # Libraries take their time to tear themselves down.


def _run(job: Job, reached: Callable[[Stage], None]) -> MeasureResult:
    reached(Stage.WAITING)
    lock = take_device(job.lock_path)
    # Behind the caller's time-out, in case this process hangs where no thread of it can run.
    signal.alarm(int(job.request.timeout_seconds) + 30)
    _limit(job.memory_limit_bytes)
    reached(Stage.IMPORTING)
    runtime = runtimes.create(job.request.runtime, job.threads)
    result = _measure(runtime, job.request, reached)
    os.close(lock)
    return result


def _measure(
    runtime: runtimes.Runtime, request: MeasureRequest, reached: Callable[[Stage], None]
) -> MeasureResult:
    memory = _PeakMemory()
    reached(Stage.LOADING)
    start = time.perf_counter()
    model = runtime.load(request.saved_model_dir)
    load_ms = _ms_since(start)
    batch_size = model.prepare(request.inputs)

    reached(Stage.WARMING_UP)
    start = time.perf_counter()
    model.infer()
    first_inference_ms = _ms_since(start)
    warmup_count = 1
    start = time.perf_counter()
    while not statistics.is_warm(warmup_count, time.perf_counter() - start):
        model.infer()
        warmup_count += 1

    reached(Stage.TIMING)
    gc.collect()
    gc.disable()
    samples_ms = []
    for _ in range(request.repetitions):
        start = time.perf_counter()
        model.infer()
        samples_ms.append(_ms_since(start))
    summary = statistics.summarize(samples_ms)
    return MeasureResult(
        runtime=request.runtime,
        count=summary.count,
        latency_p50_ms=summary.p50_ms,
        latency_p90_ms=summary.p90_ms,
        latency_mean_ms=summary.mean_ms,
        latency_std_ms=summary.std_ms,
        latency_min_ms=summary.min_ms,
        warmup_count=warmup_count,
        memory_bytes=memory.growth_bytes(),
        load_ms=load_ms,
        first_inference_ms=first_inference_ms,
        batch_size=batch_size,
    )


class _PeakMemory:
    """How far the resident memory of this process rises above what it is now."""

    def __init__(self) -> None:
        # The import may have peaked higher than what it kept: forget that peak (proc(5)).
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._baseline_bytes = _status_bytes("VmRSS")

    def growth_bytes(self) -> int:
        return max(0, _status_bytes("VmHWM") - self._baseline_bytes)


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def take_device(lock_path: str) -> int:
    """Waits until no other measurement runs on the device; returns the descriptor that holds it.

    The lock belongs to this process and ends with it, in whatever way it ends.
    """
    try:
        descriptor = os.open(lock_path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = os.open(lock_path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _limit(memory_limit_bytes: int) -> None:
    """Lets the model fill neither memory nor disk, and leaves no core dump of a gigabyte."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
    with contextlib.suppress(OSError):  # Should memory run out all the same, this process goes first.
        Path("/proc/self/oom_score_adj").write_text("1000")


def die_with_parent() -> None:
    """Kills this process and its children once the other end of standard input is closed."""
    poll = select.poll()
    poll.register(0, 0)  # POLLHUP is always reported.
    while not poll.poll():
        pass
    os.killpg(0, signal.SIGKILL)


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
