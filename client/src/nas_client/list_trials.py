"""`list_trials`: the trials of a search, best first, on the terminal and in a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from nas.v1 import resources_pb2

from nas_client import results, session, spec
from nas_client.client import SearchClient, ServiceError
from nas_client.display import make_console
from nas_client.embedded.directory import DirectoryBusy
from nas_client.flags import Values
from nas_client.search import check_job_id, find_home
from nas_client.session import Session
from nas_shared.cli import EXIT_OK, CommandError


def list_trials(values: Values) -> int:
    """Runs the command `list_trials`; returns the exit code.

    Raises:
      UsageError, CommandError: for a missing or unknown job, or a file that cannot be written.
    """
    number = check_job_id("job_id", values["job_id"])
    limit = values["max_trials"] or None
    console = make_console()
    with _session(values, number) as opened:
        try:
            job = opened.client.get(number)
        except ServiceError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                raise CommandError(f"--job_id={number}: {error}") from error
            raise
        trials = list(opened.client.trials(number, best_first=True, limit=limit))
    if values["trials_output_file"]:
        path = Path(values["trials_output_file"]).expanduser().absolute()
        results.write_trials(path, job, trials)
    state = resources_pb2.SearchJob.State.Name(job.state)
    created = job.trial_counts.created + job.train_trial_counts.created
    results.print_stages(
        console,
        job,
        trials,
        title=f"{len(trials)} of {created} trials of {job.display_name} ({job.name}, {state}), best first",
    )
    for trial in trials:
        why = trial.error_message or trial.infeasible_reason
        if why:
            console.print(
                f"trial {trial.name.rpartition('/')[2]}: {why}", style="red", markup=False, soft_wrap=True
            )
    if values["trials_output_file"]:
        console.print(f"wrote {path}", soft_wrap=True)
    return EXIT_OK


@contextmanager
def _session(values: Values, number: str) -> Iterator[Session]:
    if values["endpoint"]:
        with session.remote(values) as opened:
            yield opened
        return
    root = values["root_output_dir"]
    home = find_home(number, spec.local_directory("root_output_dir", root) if root else "")
    try:
        with session.embedded(home, debug=values["debug"]) as opened:
            yield opened
    except DirectoryBusy as busy:
        # The search is running: its own orchestrator knows its trials best.
        if not busy.endpoint:
            raise
        with SearchClient(busy.endpoint) as client:
            yield Session(client)
