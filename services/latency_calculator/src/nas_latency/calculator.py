"""Measures a SavedModel in a child process, and survives whatever becomes of it."""

import contextlib
import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from nas_latency import runtimes
from nas_latency.messages import (
    Failure,
    Job,
    MeasureError,
    MeasureRequest,
    MeasureResult,
    Report,
    Stage,
    job_to_json,
    report_from_json,
)

log = logging.getLogger(__name__)

CPU = "CPU"
DEVICE_TYPES = (CPU,)
PROBE_COMMAND = (sys.executable, "-m", "nas_latency.probe")
_STOP_CHECK_SECONDS = 0.2
_EXIT_SECONDS = 5.0
_STDERR_TAIL_BYTES = 4096


class Stopped(Exception):
    """The caller no longer wants the result. The child process is gone."""


class Calculator:
    """Measures SavedModels on one device, one at a time.

    Every measurement is a process of its own, which waits for the device's lock. The lock ends
    with that process, so calculators of one machine exclude each other and a crash frees the
    device. Methods may be called by several threads.

    Args:
      device_type: one of `DEVICE_TYPES`.
      threads: threads that one inference may use.
      lock_dir: existing directory of the lock file, shared by the calculators of a machine.
      memory_limit_bytes: heap a child may have; None: three quarters of the machine's memory.
      debug: let the child's error output through.
      probe_command: what is started.
    """

    def __init__(
        self,
        device_type: str = CPU,
        *,
        threads: int = 1,
        lock_dir: str | None = None,
        memory_limit_bytes: int | None = None,
        debug: bool = False,
        probe_command: Sequence[str] = PROBE_COMMAND,
    ):
        if device_type not in DEVICE_TYPES:
            raise ValueError(f"device type {device_type!r}: expected one of {', '.join(DEVICE_TYPES)}")
        self.device_type = device_type
        self._threads = threads
        file_name = f"nas-latency-{re.sub(r'[^A-Za-z0-9_-]', '_', device_type)}.lock"
        self._lock_path = str(Path(lock_dir or tempfile.gettempdir()) / file_name)
        self._memory_limit_bytes = memory_limit_bytes or _machine_memory_bytes() * 3 // 4
        self._debug = debug
        self._probe_command = tuple(probe_command)

    def measure(
        self, request: MeasureRequest, should_stop: Callable[[], bool] = lambda: False
    ) -> MeasureResult:
        """Measures one SavedModel.

        Args:
          request: the model and the options.
          should_stop: asked five times a second; once it is true, the child is killed.
        Raises:
          MeasureError: there is no result; says why.
          Stopped: `should_stop` came true.
        """
        _check(request)
        job = Job(request, self._lock_path, self._threads, self._memory_limit_bytes)
        with self._child_for(job) as child:
            result = child.result(request, should_stop)
        log.info(
            "%s: p50 %.3f ms, p90 %.3f ms over %d inferences on %s",
            request.saved_model_dir,
            result.latency_p50_ms,
            result.latency_p90_ms,
            result.count,
            self.device_type,
        )
        return result

    @contextlib.contextmanager
    def _child_for(self, job: Job) -> Iterator["_Child"]:
        """A child process at work on `job`; it and all it started are dead on leaving."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self._probe_command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._debug else errors,
                env=self._environment(),
                start_new_session=True,
            )
            try:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # It died at once; `result` finds out how.
                    process.stdin.write(job_to_json(job).encode() + b"\n")
                    process.stdin.flush()
                yield _Child(process, errors)
            finally:
                _kill(process)

    def _environment(self) -> dict[str, str]:
        threads = str(self._threads)
        return {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "TF_CPP_MIN_LOG_LEVEL": "0" if self._debug else "2",
        }


class _Child:
    """A process that measures, as its parent sees it."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]):
        self._process = process
        self._errors = errors
        self._stage = Stage.WAITING
        self._deadline: float | None = None

    def result(self, request: MeasureRequest, should_stop: Callable[[], bool]) -> MeasureResult:
        """Waits for the result. See `Calculator.measure`."""
        assert self._process.stdout is not None
        channel = self._process.stdout.fileno()
        unread = b""
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            while True:
                if should_stop():
                    raise Stopped
                if self._deadline is not None and time.monotonic() > self._deadline:
                    raise MeasureError(
                        Failure.TIMED_OUT,
                        f"{request.saved_model_dir}: the measurement took longer than "
                        f"{request.timeout_seconds:g} s and was ended while {self._stage.value}",
                    )
                if not selector.select(_STOP_CHECK_SECONDS):
                    continue
                chunk = os.read(channel, 65536)
                if not chunk:
                    raise self._death(request)
                *lines, unread = (unread + chunk).split(b"\n")
                for line in lines:
                    result = self._heed(report_from_json(line), request)
                    if result is not None:
                        return result

    def _heed(self, report: Report, request: MeasureRequest) -> MeasureResult | None:
        if report.failure is not None:
            raise MeasureError(report.failure, f"{request.saved_model_dir}: {report.message}")
        if report.stage is not None:
            self._stage = report.stage
            if report.stage is Stage.IMPORTING:  # The device is free: the time runs.
                self._deadline = time.monotonic() + request.timeout_seconds
        return report.result

    def _death(self, request: MeasureRequest) -> MeasureError:
        """What to say of a child that ended without a result."""
        try:
            status = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _STDERR_TAIL_BYTES))
        tail = self._errors.read().decode(errors="replace").strip()
        if status is None:
            how = "closed its output"
        elif status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        else:
            how = f"ended with exit code {status}"
        where = f"{request.saved_model_dir}: the measuring process {how} while {self._stage.value}"
        if status == -signal.SIGKILL or "std::bad_alloc" in tail:
            return MeasureError(Failure.OUT_OF_MEMORY, f"{where}: out of memory, most likely")
        last_line = tail.splitlines()[-1].strip() if tail else "it wrote no error"
        log.warning("%s; its last words:\n%s", where, tail)
        return MeasureError(Failure.CRASHED, f"{where}: {last_line[:500]}")


def _check(request: MeasureRequest) -> None:
    """Refuses what needs no child process to be seen wrong.

    Raises:
      MeasureError: INVALID_OPTIONS, NOT_FOUND or INVALID_MODEL.
    """
    if request.runtime not in runtimes.NAMES:
        raise MeasureError(
            Failure.INVALID_OPTIONS,
            f"runtime: found {request.runtime!r}; expected one of {', '.join(runtimes.NAMES)}",
        )
    for option, value in (
        ("repetitions", request.repetitions),
        ("timeout", request.timeout_seconds),
        ("batch_size", request.inputs.batch_size),
        ("image_height", request.inputs.image_height),
        ("image_width", request.inputs.image_width),
    ):
        if value is not None and value <= 0:
            raise MeasureError(
                Failure.INVALID_OPTIONS, f"{option}: found {value:g}; expected a number above 0"
            )
    directory = Path(request.saved_model_dir)
    if not request.saved_model_dir or not directory.is_dir():
        raise MeasureError(
            Failure.NOT_FOUND,
            f"saved_model_dir: {request.saved_model_dir!r} is no directory on this machine; "
            "expected the directory of a SavedModel",
        )
    if not any((directory / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise MeasureError(
            Failure.INVALID_MODEL,
            f"saved_model_dir: {request.saved_model_dir} is no SavedModel: it has no saved_model.pb",
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, and what it started, and waits for its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
