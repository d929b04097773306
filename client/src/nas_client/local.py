"""`search_in_local`: one trial of a random architecture on this machine, on the path of a search."""

import os
import time
from collections.abc import Mapping

from nas_client import search
from nas_client.display import make_console
from nas_client.engine import find_engine
from nas_client.flags import SEARCH, Values
from nas_client.spec import DATA_PATHS
from nas_shared.cli import UsageError

_NAME = "local"


def search_in_local(values: Values) -> int:
    """Runs the command `search_in_local`; returns the exit code.

    Raises:
      UsageError, CommandError: as `search`.
    """
    if not values["local_output_dir"]:
        raise UsageError("--local_output_dir: found nothing, expected a directory the trial may write in")
    seed = values["seed"] if "seed" in values.given else time.time_ns() % 2**31
    given = {
        **{flag.name: flag.default for flag in SEARCH.flags},
        **values.by_name,
        "search_docker_flags": _with_data_dir(values["search_docker_flags"], values["local_data_dir"]),
        "job_name": _NAME,
        "root_output_dir": values["local_output_dir"],
        "algorithm": "RANDOM",
        "seed": seed,
        "max_nas_trial": 1,
        "max_parallel_nas_trial": 1,
        "max_failed_nas_trial": 1,
    }
    make_console().print(_where(values), style="dim", soft_wrap=True)
    return search.search(Values(given, values.given))


def _with_data_dir(flags: Mapping[str, str], directory: str) -> dict[str, str]:
    """The trainer's flags with relative data paths looked up in `directory`."""
    if not directory:
        return dict(flags)
    return {
        key: ",".join(os.path.join(directory, part.strip()) for part in value.split(","))
        if key in DATA_PATHS
        else value
        for key, value in flags.items()
    }


def _where(values: Values) -> str:
    """Whether the trial runs in a container, and why not."""
    image = values["trainer_docker_id"]
    if values["use_prebuilt_trainer"]:
        return "the prebuilt trainer runs as a process of this machine; it is the program the image holds"
    if values["run_local_binary"] or not image:
        return "the trial runs as a process: --run_local_binary"
    engine = find_engine()
    return f"the trial runs in a container of {image} ({engine.name})"
