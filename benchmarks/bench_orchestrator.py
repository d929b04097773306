"""How fast one orchestrator on durable SQLite hands out and settles trials; prints JSON.

A real orchestrator process is driven over gRPC from this process, by workers that do nothing but
claim and complete. Each worker has a connection of its own, as real ones do. Three scenarios, each
with a fresh server and database:

saturated
    Workers complete as fast as they are answered, for jobs of 1,000 and 20,000 trials. With W
    workers that never pause and N trials per second, a worker goes round in W/N seconds, so the
    gap here is the queue that the benchmark itself makes.
paced
    Workers take `--train_ms` per trial, as a (very fast) training would: the gap a user sees.
held
    1,000 workers wait for work at once; then a job gives each of them a trial.

Figures:
    trials_per_s   from the creation of the job to the last answered completion
    cost_ratio     time per trial of the last 1,000 trials over that of the first 1,000
    gap_ms         from a completion answered until the same worker holds its next task
    workers_held   workers whose waiting call, open since before the job, was answered with a task
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
from google.protobuf import duration_pb2
from nas.v1 import resources_pb2, search_service_pb2, task_service_pb2

METRIC = "top_1_accuracy"
SLICE = 1000  # Trials at either end of a run that cost_ratio compares.
WARM_UP_TRIALS = 64
POLL_SECONDS = 55
START_TIMEOUT_SECONDS = 60


class BenchmarkError(Exception):
    """The orchestrator did not do what is measured, so there is no figure."""


@dataclass
class Orchestrator:
    """A running orchestrator process and a channel to it."""

    process: psutil.Popen
    target: str
    database: Path
    channel: grpc.aio.Channel

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        seconds: float = times.user + times.system
        return seconds

    def resident_mb(self) -> float:
        megabytes: float = round(self.process.memory_info().rss / 1e6, 1)
        return megabytes


@dataclass
class Run:
    """Times of one run, in seconds of `time.perf_counter`."""

    trials: int
    started: float = 0.0
    completed: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    # Server CPU seconds at the start, after the first slice, before the last one, at the end.
    cpu: list[float] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def orchestrator(parent_dir: Path, profile: Path | None = None) -> AsyncIterator[Orchestrator]:
    """Starts an orchestrator on a fresh database below `parent_dir` and stops it afterwards."""
    with tempfile.TemporaryDirectory(prefix="nas-bench-", dir=parent_dir) as directory:
        database, port_file = Path(directory, "nas.db"), Path(directory, "port")
        log_path = Path(directory, "orchestrator.log")
        profiler = ["-m", "cProfile", "-o", str(profile)] if profile else []
        with log_path.open("wb") as log:
            process = psutil.Popen(
                [
                    *(sys.executable, *profiler, "-m", "nas_orchestrator.main"),
                    "--listen=127.0.0.1:0",
                    f"--database=sqlite:///{database}",
                    f"--port_file={port_file}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while not (port_file.exists() and port_file.read_text().strip()):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"the orchestrator did not start:\n{log_path.read_text()}")
                await asyncio.sleep(0.02)
            target = f"127.0.0.1:{int(port_file.read_text())}"
            async with _channel(target) as channel:
                yield Orchestrator(process, target, database, channel)
        except grpc.aio.AioRpcError as error:
            log_tail = log_path.read_text()[-2000:]
            raise BenchmarkError(f"{error.code().name}: {error.details()}\n{log_tail}") from error
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()


def _channel(target: str) -> grpc.aio.Channel:
    # Channels to one address would share one connection otherwise.
    return grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])


def _method(channel: grpc.aio.Channel, name: str, answer: Callable[[bytes], Any]) -> Any:
    # Bare multicallables: what the load costs here is missing on a machine of two cores.
    return channel.unary_unary(
        f"/nas.v1.{name}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=answer,
    )


async def create_job(server: Orchestrator, trials: int, parallel: int) -> str:
    """Starts a search without measurement and without files; returns its name."""
    spec = resources_pb2.SearchJobSpec(
        search_space="mnasnet",
        algorithm=resources_pb2.Algorithm(kind=resources_pb2.Algorithm.REGULARIZED_EVOLUTION, seed=1),
        reward=resources_pb2.RewardSpec(metric=METRIC),
        limits=resources_pb2.Limits(max_trial_count=trials, max_parallel_trial_count=parallel),
    )
    create = _method(server.channel, "SearchService/CreateSearchJob", resources_pb2.SearchJob.FromString)
    job = resources_pb2.SearchJob(display_name="bench", spec=spec)
    request = search_service_pb2.CreateSearchJobRequest(search_job=job, request_id=uuid.uuid4().hex)
    return str((await create(request)).name)


async def check_job(server: Orchestrator, run: Run, job_name: str) -> None:
    """Raises BenchmarkError unless the job ended with every trial settled exactly once."""
    get = _method(server.channel, "SearchService/GetSearchJob", resources_pb2.SearchJob.FromString)
    job = await get(search_service_pb2.GetSearchJobRequest(name=job_name))
    counts = job.trial_counts
    if (job.state, counts.created, counts.succeeded, len(run.names), len(run.completed)) != (
        resources_pb2.SearchJob.SUCCEEDED,
        *(run.trials,) * 4,
    ):
        raise BenchmarkError(
            f"{job_name} ended wrong: {len(run.completed)} completions of {len(run.names)} tasks, "
            f"expected {run.trials}; {job}"
        )


def synthetic_metric(nas_params_str: str) -> float:
    """A deterministic accuracy in [0, 1) of an architecture."""
    return zlib.crc32(nas_params_str.encode()) / 2**32


async def work(server: Orchestrator, worker: int, run: Run, train_seconds: float) -> None:
    """One worker: claims and completes until the run has all its trials."""
    async with _channel(server.target) as channel:
        claim_call = _method(channel, "TaskService/ClaimTask", task_service_pb2.ClaimTaskResponse.FromString)
        complete_call = _method(channel, "TaskService/CompleteTask", bytes)
        claim = task_service_pb2.ClaimTaskRequest(
            worker_id=f"bench-{worker}",
            kind=task_service_pb2.Task.TRAIN,
            wait=duration_pb2.Duration(seconds=POLL_SECONDS),
        )
        complete = task_service_pb2.CompleteTaskRequest()
        complete.measurement.step = 1
        answered: float | None = None
        claims = 0
        while True:
            claims += 1
            claim.request_id = f"{worker}/{claims}"
            claimed = await claim_call(claim)
            if not claimed.HasField("task"):
                continue
            if answered is not None:
                run.gaps.append(time.perf_counter() - answered)
            if train_seconds:
                await asyncio.sleep(train_seconds)
            complete.name = claimed.task.name
            complete.lease_token = claimed.lease.token
            metric = synthetic_metric(claimed.task.train.nas_params_str)
            complete.measurement.metrics[METRIC] = metric
            await complete_call(complete)
            answered = time.perf_counter()
            run.completed.append(answered)
            run.names.add(claimed.task.name)
            if len(run.completed) in (SLICE, run.trials - SLICE, run.trials):
                run.cpu.append(server.cpu_seconds())
            if len(run.completed) == run.trials:
                run.done.set()


async def search(server: Orchestrator, trials: int, workers: int, train_seconds: float = 0) -> Run:
    """One job from its creation to its last completion, with `workers` at once."""
    run = Run(trials)
    tasks = [asyncio.create_task(work(server, worker, run, train_seconds)) for worker in range(workers)]
    try:
        await asyncio.sleep(0.5)  # Lets them connect and wait.
        run.cpu.append(server.cpu_seconds())
        run.started = time.perf_counter()
        job_name = await create_job(server, trials, parallel=workers)
        finished = asyncio.create_task(run.done.wait())
        ended, _ = await asyncio.wait([finished, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
        await check_job(server, run, job_name)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return run


async def saturated(parent_dir: Path, trials: int, workers: int, profile: Path | None) -> dict[str, Any]:
    """A job of `trials` trials, as fast as it goes, after a small one that warms the server up."""
    async with orchestrator(parent_dir, profile) as server:
        await search(server, WARM_UP_TRIALS, workers)
        run = await search(server, trials, workers)
        return {
            **_summary(run),
            **_cost(run),
            "server_resident_mb": server.resident_mb(),
            "sqlite_journal_mode": _journal_mode(server.database),
        }


async def paced(parent_dir: Path, trials: int, workers: int, train_ms: float) -> dict[str, Any]:
    """A job whose trials take `train_ms` each."""
    async with orchestrator(parent_dir) as server:
        await search(server, WARM_UP_TRIALS, workers)
        run = await search(server, trials, workers, train_ms / 1000)
        return {"train_ms": train_ms, **_summary(run)}


async def held(parent_dir: Path, workers: int, idle_seconds: float) -> dict[str, Any]:
    """`workers` waiting calls, left alone for a while, then answered by one job."""
    async with orchestrator(parent_dir) as server:
        await search(server, WARM_UP_TRIALS, 16)
        resident_before = server.resident_mb()
        channels = [_channel(server.target) for _ in range(workers)]
        try:
            before = time.perf_counter()
            calls = [
                asyncio.create_task(_claim_once(channel, f"idle-{number}"))
                for number, channel in enumerate(channels)
            ]
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
            connect_seconds = time.perf_counter() - before
            await asyncio.sleep(1)
            cpu_before = server.cpu_seconds()
            await asyncio.sleep(idle_seconds)
            idle_cpu = (server.cpu_seconds() - cpu_before) / idle_seconds
            returned_early = sum(call.done() for call in calls)
            resident = server.resident_mb()

            started = time.perf_counter()
            await create_job(server, workers, parallel=workers)
            created = time.perf_counter()
            await asyncio.wait(calls, timeout=POLL_SECONDS)
            answers = [call.result() for call in calls if call.done()]
            tasks = {name: when for name, when in answers if name}
            return {
                "workers": workers,
                "workers_held": len(tasks) if not returned_early else 0,
                "returned_early": returned_early,
                "connections": len(channels),
                "connect_all_s": round(connect_seconds, 2),
                "idle_s": idle_seconds,
                "server_cpu_percent_while_idle": round(100 * idle_cpu, 2),
                "server_resident_mb": resident,
                "server_kb_per_worker": round((resident - resident_before) * 1e3 / workers, 1),
                "create_job_s": round(created - started, 3),
                "all_tasks_handed_out_s": round(max(tasks.values(), default=started) - started, 3),
            }
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.gather(*(channel.close() for channel in channels))


async def _claim_once(channel: grpc.aio.Channel, worker: str) -> tuple[str, float]:
    """One waiting call; the name of the task it brought (empty: none) and when."""
    claim_call = _method(channel, "TaskService/ClaimTask", task_service_pb2.ClaimTaskResponse.FromString)
    request = task_service_pb2.ClaimTaskRequest(
        worker_id=worker,
        request_id=worker,
        kind=task_service_pb2.Task.TRAIN,
        wait=duration_pb2.Duration(seconds=POLL_SECONDS),
    )
    claimed = await claim_call(request)
    return claimed.task.name, time.perf_counter()


def _summary(run: Run) -> dict[str, Any]:
    seconds = max(run.completed) - run.started
    return {
        "trials": run.trials,
        "seconds": round(seconds, 2),
        "trials_per_s": round(run.trials / seconds, 1),
        "gap_ms_p50": _percentile_ms(run.gaps, 50),
        "gap_ms_p99": _percentile_ms(run.gaps, 99),
        "gap_ms_max": round(max(run.gaps, default=0.0) * 1000, 2),
    }


def _cost(run: Run) -> dict[str, Any]:
    """Cost of the last trials over the first; by the clock, and by the server's CPU time."""
    times = sorted(run.completed)
    by_thousand = [
        round(SLICE / (times[end - 1] - (times[end - SLICE - 1] if end > SLICE else run.started)), 1)
        for end in range(SLICE, run.trials + 1, SLICE)
    ]
    cost: dict[str, Any] = {
        "server_cpu_ms_per_trial": round((run.cpu[-1] - run.cpu[0]) / run.trials * 1000, 3),
        "trials_per_s_by_thousand": by_thousand,
    }
    if run.trials >= 2 * SLICE:
        first = times[SLICE - 1] - run.started
        last = times[-1] - times[-SLICE - 1]
        cost["cost_ratio"] = round(last / first, 3)
        cpu_first, cpu_last = run.cpu[1] - run.cpu[0], run.cpu[-1] - run.cpu[-2]
        cost["cost_ratio_server_cpu"] = round(cpu_last / cpu_first, 3)
    return cost


def _percentile_ms(seconds: Sequence[float], percent: int) -> float | None:
    if len(seconds) < 2:
        return None
    return round(statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000, 2)


def _journal_mode(database: Path) -> str:
    connection = sqlite3.connect(database)
    try:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        connection.close()


def machine(directory: Path) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    packages = ("grpcio", "protobuf", "sqlalchemy", "pyglove")
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "fsync_ms_p50": _fsync_ms(directory),
        "filesystem": _filesystem(directory),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{package: metadata.version(package) for package in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _filesystem(directory: Path) -> str:
    """Type of the file system that holds `directory`; a tmpfs would make durability cost nothing."""
    path = str(directory.resolve())
    mounts = [m for m in psutil.disk_partitions(all=True) if Path(path).is_relative_to(m.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"


def _fsync_ms(directory: Path, writes: int = 100) -> float | None:
    """Median time to make 4 KiB durable in `directory`: what a commit cannot undercut."""
    with tempfile.TemporaryFile(dir=directory) as file:
        times = []
        for _ in range(writes):
            before = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - before)
    return _percentile_ms(times, 50)


async def run_benchmark(flags: argparse.Namespace) -> dict[str, Any]:
    """All scenarios, the figures the README quotes at the top."""
    report: dict[str, Any] = {"benchmark": "orchestrator", "machine": machine(flags.directory)}
    runs: dict[int, dict[str, Any]] = {}
    for trials in flags.trials:
        _say(f"saturated: {trials} trials, {flags.workers} workers")
        runs[trials] = await saturated(flags.directory, trials, flags.workers, flags.profile)
    _say(f"paced: {flags.paced_trials} trials of {flags.train_ms:g} ms, {flags.workers} workers")
    paced_run = await paced(flags.directory, flags.paced_trials, flags.workers, flags.train_ms)
    _say(f"held: {flags.held} waiting workers")
    held_run = await held(flags.directory, flags.held, flags.held_seconds)
    largest = runs[max(runs)]
    report |= {
        "workers": flags.workers,
        "trials_per_s": {str(trials): run["trials_per_s"] for trials, run in runs.items()},
        "cost_ratio": largest.get("cost_ratio"),
        "gap_ms_p50": {"saturated": largest["gap_ms_p50"], "paced": paced_run["gap_ms_p50"]},
        "gap_ms_p99": {"saturated": largest["gap_ms_p99"], "paced": paced_run["gap_ms_p99"]},
        "workers_held": held_run["workers_held"],
        "saturated": list(runs.values()),
        "paced": paced_run,
        "held": held_run,
    }
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report to standard output and progress to standard error; 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--trials",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1000, 20000],
        help="sizes of the saturated jobs, separated by commas (1000,20000)",
    )
    parser.add_argument("--workers", type=int, default=16, help="workers at once (%(default)s)")
    parser.add_argument("--paced_trials", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--train_ms", type=float, default=200, help="time a paced trial takes (%(default)s)")
    parser.add_argument("--held", type=int, default=1000, help="waiting workers (%(default)s)")
    parser.add_argument("--held_seconds", type=float, default=5, help="how long they wait (%(default)s)")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the databases lie while it runs (%(default)s)",
    )
    parser.add_argument("--profile", type=Path, help="cProfile file of the last saturated run's server")
    flags = parser.parse_args(argv)
    try:
        report = asyncio.run(run_benchmark(flags))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
