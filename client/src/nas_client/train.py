"""`train`: full training of chosen trials of a search, in a job of their own."""

from pathlib import Path

from nas.v1 import resources_pb2

from nas_client import registry, spec, stage2
from nas_client.display import make_console
from nas_client.embedded import workers_for
from nas_client.flags import Values
from nas_client.running import run_job
from nas_client.search import check_job_id, create, find_home, open_session
from nas_shared.cli import UsageError

_MAX_NAME = 128


def train(values: Values) -> int:
    """Runs the command `train`; returns the exit code.

    Raises:
      UsageError, CommandError: nothing was started, or what was started has been stopped.
    """
    number = check_job_id("search_job_id", values["search_job_id"])
    home = Path()
    if not values["endpoint"]:
        root = values["root_output_dir"]
        home = registry.find(number) or find_home(
            number, spec.local_directory("root_output_dir", root) if root else ""
        )
    console = make_console()
    with open_session(values, console, home) as opened:
        searched = opened.client.get(number)
        wanted = _job(values, searched)
        workers = None
        if not values["endpoint"]:
            spec.check_data_paths(wanted.spec.train_stage.train.flags, "train_docker_flags")
            workers = workers_for(wanted.spec, values["num_train_workers"])
        return run_job(opened, console, values, create(opened, wanted), [], workers)


def _job(values: Values, searched: resources_pb2.SearchJob) -> resources_pb2.SearchJob:
    """The job that trains: of the search it keeps space and reward, and unless told otherwise the rest."""
    stage = stage2.of_chosen(values, searched)
    own_of_search = not stage.train.HasField("program") and "use_prebuilt_trainer" not in values.given
    if own_of_search and searched.spec.train.HasField("program"):
        stage.train.program.CopyFrom(searched.spec.train.program)
    measure = spec.measure_spec(values)
    job = resources_pb2.SearchJob(
        display_name=_name(searched.display_name, values["train_job_suffix"]), spec=searched.spec
    )
    if measure is not None:
        job.spec.measure.CopyFrom(measure)
    job.spec.train_stage.CopyFrom(stage)
    return job


def _name(search: str, suffix: str) -> str:
    name = f"{search}_{suffix}" if suffix else search
    if len(name) > _MAX_NAME or not spec.is_display_name(name):
        raise UsageError(
            f"--train_job_suffix: found {suffix!r}, expected letters, digits, '_', '.' or '-', with the name "
            f"of the search at most {_MAX_NAME}"
        )
    return name
