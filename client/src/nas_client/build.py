"""`build`: the images of trainer and latency calculator."""

import shlex
import subprocess
from pathlib import Path

from nas_client.display import make_console
from nas_client.engine import find_engine
from nas_client.flags import Values
from nas_shared.cli import EXIT_OK, CommandError, UsageError

# The guide's names of Dockerfiles, and what this project ships under them.
SHIPPED = {
    "nas_multi_trial.Dockerfile": "services/trainer/Dockerfile",
    "latency_computation_using_saved_model.Dockerfile": "services/latency_calculator/Dockerfile",
}
_ROOT = Path(__file__).resolve().parents[3]


def build(values: Values) -> int:
    """Runs the command `build`; returns the exit code.

    Raises:
      UsageError: for a Dockerfile or a name that is missing.
      CommandError: no engine runs, or it failed; what it printed stands above.
    """
    wanted = [
        (values[f"{image}_docker_id"], dockerfile(f"{image}_docker_file", values[f"{image}_docker_file"]))
        for image in ("trainer", "latency_calculator")
        if values[f"{image}_docker_id"]
    ]
    if not wanted:
        raise UsageError(
            "--trainer_docker_id: found nothing, expected the name of an image to build; "
            "--latency_calculator_docker_id names the other"
        )
    engine = find_engine(values["engine"])
    cache = [] if values["use_cache"] else ["--no-cache"]
    for name, file in wanted:
        _run([engine.path, "build", *cache, f"--file={file}", f"--tag={name}", str(_ROOT)])
        if values["push"]:
            _run([engine.path, "push", name])
    return EXIT_OK


def dockerfile(flag: str, text: str) -> Path:
    """The Dockerfile at a path, or the shipped one of its base name.

    Raises:
      UsageError: there is neither.
    """
    path = Path(text).expanduser()
    for found in (path.absolute(), _ROOT / path, _ROOT / SHIPPED.get(path.name, "")):
        if found.is_file():
            return found
    raise UsageError(f"--{flag}: found no file {text}, expected a Dockerfile or one of {', '.join(SHIPPED)}")


def _run(command: list[str]) -> None:
    make_console().print(shlex.join(command), style="bold", soft_wrap=True, markup=False)
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise CommandError(f"{shlex.join(command[:2])} ended with exit code {code}; its output stands above")
