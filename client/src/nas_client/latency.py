"""`run_latency_calculator_local`: a device of this machine measures the models of a running search."""

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import grpc
from nas.v1 import resources_pb2

from nas_client import registry, session, spec
from nas_client.client import SearchClient, ServiceError
from nas_client.display import make_console
from nas_client.embedded import Directory, programs
from nas_client.flags import Values
from nas_client.interrupts import Interrupts
from nas_client.search import check_job_id, find_home
from nas_shared.cli import EXIT_FAILURE, EXIT_OK, CommandError, UsageError

_Job = resources_pb2.SearchJob
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 10.0


def run_latency_calculator_local(values: Values) -> int:
    """Runs the command of that name until its search ends; returns the exit code.

    Raises:
      UsageError, CommandError: there is no such search, or it does not run.
    """
    number = check_job_id("search_job_id", values["search_job_id"])
    worker, workers = values["latency_worker_id"], values["num_latency_workers"]
    if worker >= workers:
        raise UsageError(
            f"--latency_worker_id: found {worker}, expected less than --num_latency_workers={workers}"
        )
    endpoint = values["endpoint"] or _endpoint(number, values["root_output_dir"])
    with ExitStack() as stack:
        if values["endpoint"]:
            client = stack.enter_context(session.remote(values)).client
        else:
            client = stack.enter_context(SearchClient(endpoint))
        job = _running(client, number)
        device = values["target_device_type"] or job.spec.measure.device_type
        if device != job.spec.measure.device_type:
            raise UsageError(
                f"--target_device_type: found {device}, expected {job.spec.measure.device_type}, which "
                f"{job.name} is measured on"
            )
        program = programs.latency_calculator(
            device, endpoint, name=f"latency-local-{worker}", debug=values["debug"]
        )
        token = [f"--token_file={values['token_file']}"] if values["token_file"] else []
        return _measure(values, client, job, [*program.command(), *token])


def _endpoint(number: str, root: str) -> str:
    """Where the orchestrator of a search that runs on this machine listens."""
    home = registry.find(number) or find_home(
        number, spec.local_directory("root_output_dir", root) if root else ""
    )
    endpoint = str(Directory(home).running_stack().get("endpoint") or "")
    if not endpoint:
        raise CommandError(
            f"searchJobs/{number}: found no running search in {home}; start it, or give --endpoint"
        )
    return endpoint


def _running(client: SearchClient, number: str) -> resources_pb2.SearchJob:
    job = client.get(number)
    if job.state != _Job.RUNNING:
        raise CommandError(
            f"{job.name} is {_Job.State.Name(job.state)}; only RUNNING searches are measured for"
        )
    if not job.spec.HasField("measure"):
        raise CommandError(f"{job.name} measures no latency; nothing is to be done for it")
    return job


def _measure(values: Values, client: SearchClient, job: resources_pb2.SearchJob, command: list[str]) -> int:
    """Runs the calculator until the search ends or the user does."""
    console = make_console()
    with ExitStack() as stack:
        output = None
        if values["local_output_dir"]:
            directory = Path(spec.local_directory("local_output_dir", values["local_output_dir"]))
            directory.mkdir(parents=True, exist_ok=True)
            log = directory / f"latency-{values['latency_worker_id']}.log"
            output = stack.enter_context(log.open("ab"))
            console.print(f"logs    {log}", style="dim", soft_wrap=True)
        interrupts = stack.enter_context(Interrupts())
        # Its standard input is a pipe of ours: it ends when this process does, however that ends.
        child = subprocess.Popen(
            command, env=programs.environment(), stdin=subprocess.PIPE, stdout=output, stderr=output
        )
        stack.callback(_end, child)
        console.print(f"measuring for {job.name} ({job.display_name}) on {job.spec.measure.device_type}")
        while interrupts.exit_code is None:
            try:
                child.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            else:
                raise CommandError(f"the latency calculator ended with exit code {child.returncode}")
            state = _state(client, job.name)
            if state != _Job.RUNNING:
                name = "gone" if state is None else _Job.State.Name(state)
                console.print(f"{job.name} is {name}; nothing is left to measure")
                return EXIT_OK
        return interrupts.exit_code or EXIT_FAILURE


def _state(client: SearchClient, name: str) -> int | None:
    """The search's state; None when its orchestrator has ended with it."""
    try:
        return client.get(name).state
    except ServiceError as error:
        if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return None
        raise


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        os.kill(child.pid, signal.SIGTERM)
        try:
            child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
