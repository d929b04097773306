"""Stands in for `nas_latency.probe`: keeps its side of the talk, but loads no model.

What it does is the name of the SavedModel's directory. Every run is noted, with its process
id, in `log.txt` beside that directory.
"""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from nas_latency.messages import Failure, MeasureResult, Report, Stage, job_from_json, report_to_json
from nas_latency.probe import take_device

RESULT = MeasureResult(
    runtime="tensorflow",
    count=100,
    latency_p50_ms=1.5,
    latency_p90_ms=2.5,
    latency_mean_ms=1.75,
    latency_std_ms=0.5,
    latency_min_ms=1.25,
    warmup_count=10,
    memory_bytes=123_456_789_012,
    load_ms=40.5,
    first_inference_ms=20.25,
    batch_size=1,
)


def main() -> None:
    job = job_from_json(sys.stdin.readline())
    model = Path(job.request.saved_model_dir)
    log = model.parent / "log.txt"

    def note(word: str) -> None:
        with log.open("a") as file:
            file.write(f"{word} {os.getpid()}\n")

    def say(report: Report) -> None:
        os.write(1, report_to_json(report).encode() + b"\n")

    say(Report(stage=Stage.WAITING))
    lock = take_device(job.lock_path)
    note("start")
    for stage in (Stage.IMPORTING, Stage.LOADING, Stage.WARMING_UP):
        say(Report(stage=stage))
    match model.name:
        case "ok":
            say(Report(result=RESULT))
        case "slow":
            time.sleep(0.3)
            note("end")
            os.close(lock)
            say(Report(result=RESULT))
        case "slow_writer":
            line = report_to_json(Report(result=RESULT)).encode() + b"\n"
            for byte in line:
                os.write(1, bytes([byte]))
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), 9)
        case "bad_alloc":
            sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
            sys.stderr.flush()
            os.abort()
        case "traceback":
            raise RuntimeError("a defect of the probe")
        case "silent":
            os._exit(0)
        case "hang":
            child = subprocess.Popen(["sleep", "600"])
            note(f"grandchild {child.pid}")
            time.sleep(600)
        case "unusable":
            say(Report(failure=Failure.INVALID_MODEL, message="found no signature"))
        case "out_of_memory":
            say(Report(failure=Failure.OUT_OF_MEMORY, message="OOM when allocating"))
        case "options":
            say(Report(failure=Failure.INVALID_OPTIONS, message="image_height: not given"))


if __name__ == "__main__":
    main()
