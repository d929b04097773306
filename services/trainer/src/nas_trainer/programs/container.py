"""A program as a container, through the command line of docker or podman."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_trainer.errors import ConfigError
from nas_trainer.programs.arguments import Invocation
from nas_trainer.programs.process import Ending, LocalProcess

ENGINES = ("docker", "podman")
_CALL_SECONDS = 60.0
_PULL_CHECK_SECONDS = 0.2
_LABEL = "nas.trial_dir"
# With these codes the command line says that it could not run the program; so may a program itself.
_ENGINE_CODES = (125, 126, 127)
_ENGINE_SAYS = re.compile(r"^((docker|podman|Error)\b.*: |\[FATAL tini\b)")


class EngineError(ConfigError):
    """The container engine or the image is not there; a person must start or build it."""


def find_engine(name: str) -> str:
    """The path of the engine's command line.

    Args:
        name: `docker`, `podman`, or `auto` for the first of them that is installed.
    Raises:
        EngineError: none is installed.
    """
    names = ENGINES if name == "auto" else (name,)
    for candidate in names:
        if found := shutil.which(candidate):
            return found
    raise EngineError(f"--engine={name}: found no {' or '.join(names)} on PATH; a program's image needs one")


@dataclass(frozen=True)
class ContainerSpec:
    """What is run.

    Attributes:
        image: found on this machine or pulled.
        command: in place of the image's entry point; empty: that one.
        name: of the container, unique among those of this machine.
        gpus: GPUs it sees.
    """

    image: str
    command: tuple[str, ...]
    name: str
    gpus: tuple[str, ...] = ()


def container_name(task: str, attempt: int, trial_dir: Path) -> str:
    """`nas-<task>-<directory>-<attempt>`: job 1 of two orchestrators on one machine are not the same."""
    digest = hashlib.sha256(os.fsencode(trial_dir)).hexdigest()[:8]
    return f"nas-{task.replace('/', '-')}-{digest}-{attempt}"


class Container:
    """A container in the foreground of an engine's command line, which runs as a `LocalProcess`.

    It shares the machine's network, runs as this user, and sees the trial's directory, and read-only the
    inputs, under the paths they have here. When this process is killed the guard removes it.

    Args:
        engine: path of the engine's command line.
        spec: what is run.
        invocation: what the program is given.
        log_path: output is appended here.
        wanted: asked while an image is pulled; False gives it up.
    Raises:
        EngineError: the engine does not answer, or the image is neither here nor was pulled.
        OSError: if the log cannot be opened or no process can be made.
    """

    def __init__(
        self,
        engine: str,
        spec: ContainerSpec,
        invocation: Invocation,
        log_path: Path,
        wanted: Callable[[], bool],
    ):
        self._engine = engine
        self._spec = spec
        self._log_path = log_path
        self._label = f"{_LABEL}={invocation.trial_dir}"
        self._ended = False
        # An earlier attempt may have lost its runner and its guard; it would write into the same model.
        self._remove_all()
        self._find_image(wanted)
        self._client = LocalProcess(
            run_command(engine, spec, invocation),
            os.environ,
            log_path,
            last_will=(engine, "rm", "--force", spec.name),
        )

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.__exit__(*exception)
        if not self._ended:
            # The engine may have been about to start it when its command line was killed. By name:
            # the next attempt's container may run already.
            with contextlib.suppress(EngineError):
                self._call("rm", "--force", self._spec.name)

    def wait(self, seconds: float) -> Ending | None:
        """See `Execution.wait`."""
        ending = self._client.wait(seconds)
        if ending is None or ending.exit_code is None:
            return ending
        self._ended = True
        code = ending.exit_code
        if code in _ENGINE_CODES and (complaint := _complaint(self._log_path)):
            return Ending(start_error=complaint)
        # What a shell and the engines make of a signal.
        if 128 < code < 128 + signal.NSIG:
            return Ending(signal=code - 128)
        return ending

    def stop(self, grace_seconds: float) -> None:
        """See `Execution.stop`."""
        with contextlib.suppress(EngineError):
            self._call("stop", "-t", str(round(grace_seconds)), self._spec.name)
        self._client.stop(0)

    def _remove_all(self) -> None:
        """Removes every container of the trial."""
        left = self._call("ps", "--all", "--quiet", "--filter", f"label={self._label}").split()
        if left:
            self._call("rm", "--force", *left)

    def _find_image(self, wanted: Callable[[], bool]) -> None:
        image = self._spec.image
        with contextlib.suppress(EngineError):
            self._call("image", "inspect", image)
            return
        with LocalProcess([self._engine, "pull", image], os.environ, self._log_path) as pull:
            while (ending := pull.wait(_PULL_CHECK_SECONDS)) is None:
                if not wanted():
                    raise EngineError(f"image: nobody waits any longer for {image!r} to be pulled")
        if ending.exit_code != 0:
            why = (last_lines(self._log_path, 1) or ["the engine said nothing"])[0]
            raise EngineError(f"image: {image!r} is not on this machine and cannot be pulled: {why}")

    def _call(self, *arguments: str) -> str:
        """Output of a short command of the engine."""
        try:
            done = subprocess.run(
                [self._engine, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_CALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{self._engine} {arguments[0]}: no answer within {_CALL_SECONDS:g} s"
            ) from error
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise EngineError(f"{self._engine} {arguments[0]}: {why}")
        return done.stdout


def run_command(engine: str, spec: ContainerSpec, invocation: Invocation) -> list[str]:
    """The command that runs the program in a container and waits for it."""
    podman = Path(engine).name == "podman"
    command = [engine, "run", "--rm", f"--name={spec.name}", "--network=host"]
    command.append(f"--label={_LABEL}={invocation.trial_dir}")
    # The trial's files belong to whoever runs this; a home to write to, which that user lacks in there.
    command.append(f"--user={os.getuid()}:{os.getgid()}")
    # The first process of a container is deaf to signals it does not handle: Docker brings one that
    # passes them on. Podman's is a package of its own, which may be missing.
    command.append("--userns=keep-id" if podman else "--init")
    command += _mounts(invocation)
    if spec.gpus and podman:
        command += [f"--device=nvidia.com/gpu={gpu}" for gpu in spec.gpus]
    elif spec.gpus:
        # Docker reads the value as CSV: the quotes keep the list in one field.
        command.append(f'--gpus="device={",".join(spec.gpus)}"')
    variables: Mapping[str, str] = {"HOME": "/tmp", **invocation.variables}
    command += [f"--env={name}={value}" for name, value in sorted(variables.items())]
    arguments: Sequence[str] = spec.command[1:]
    if spec.command:
        command.append(f"--entrypoint={spec.command[0]}")
    return [*command, spec.image, *arguments, *invocation.arguments]


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a program's output that are not empty, each cut to 300 characters."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip()[:300] for line in text.splitlines() if line.strip()][-count:]


def _mounts(invocation: Invocation) -> list[str]:
    own = [path for path in invocation.inputs if not path.is_relative_to(invocation.trial_dir)]
    mounts = [_mount(invocation.trial_dir, "")]
    return [f"--mount={mount}" for mount in (*mounts, *(_mount(path, ",readonly") for path in own))]


def _mount(path: Path, options: str) -> str:
    # CSV, too: a comma or a quote in a path is quoted.
    source, target = (
        '"' + field.replace('"', '""') + '"' if re.search('[,"]', field) else field
        for field in (f"source={path}", f"target={path}")
    )
    return f"type=bind,{source},{target}{options}"


def _complaint(log_path: Path) -> str:
    """What the engine's command line says in the last lines of the output, if it does."""
    return next((line for line in last_lines(log_path, 3) if _ENGINE_SAYS.match(line)), "")
