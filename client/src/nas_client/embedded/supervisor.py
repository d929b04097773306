"""Keeps one child process running: starts it, restarts it when it ends, gives up when it cannot start.

STARTING -> RUNNING -> (ended) -> waiting -> RUNNING …     until `stop`
                               -> given up                 after early deaths in a row, or exit code 2
"""

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Program:
    """What a child process runs.

    Attributes:
      name: names the log file and the entry in stack.json.
      command: makes the command line, anew for every start.
      environment: the whole environment of the child.
    """

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class RestartPolicy:
    """When a child that ended is started again.

    Attributes:
      first_wait_seconds: wait after the first early death; each further one doubles it.
      max_wait_seconds: longest wait.
      early_seconds: a child that ends with an error sooner than this after its start died early.
      max_early_deaths: early deaths in a row after which the child is given up.
    """

    first_wait_seconds: float = 0.5
    max_wait_seconds: float = 8.0
    early_seconds: float = 30.0
    max_early_deaths: int = 4


@dataclass(frozen=True)
class GaveUp:
    """Why a child is no longer restarted, and the last lines of its output."""

    name: str
    reason: str
    last_lines: Sequence[str]
    log: Path


@dataclass
class Supervisor:
    """One child process and the thread that watches it.

    The child's standard input is a pipe that stays open as long as this process lives, so that a child
    started with --exit_with_parent dies with it however it dies. The child has a session of its own: Ctrl-C
    in the terminal reaches this process alone, which then stops its children in order.

    Attributes:
      log: the child's standard output and standard error, appended.
      on_change: called after every start, end and giving up, mostly from the watching thread; with one
        sentence when the child ended with an error, with "" otherwise.
    """

    program: Program
    log: Path
    on_change: Callable[[str], None] = lambda news: None
    policy: RestartPolicy = field(default_factory=RestartPolicy)

    def __post_init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._gave_up: GaveUp | None = None
        self._starts = 0
        self._thread = threading.Thread(target=self._keep_running, name=self.program.name, daemon=True)

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None between two starts."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @property
    def starts(self) -> int:
        """How often the child was started."""
        return self._starts

    @property
    def gave_up(self) -> GaveUp | None:
        """Why the child is no longer restarted; None while it is."""
        return self._gave_up

    def start(self) -> None:
        """Starts the child and its watching thread.

        Raises:
          OSError: if the program or the log file cannot be opened.
        """
        self._launch()
        self._thread.start()

    def terminate(self) -> None:
        """Asks the child to end (SIGTERM); it is not started again."""
        self._signal(subprocess.Popen.terminate)

    def kill(self) -> None:
        """Ends the child at once (SIGKILL); it is not started again."""
        self._signal(subprocess.Popen.kill)

    def wait(self, deadline: float) -> bool:
        """Waits until the child has ended, at most up to `deadline` (time.monotonic). True if it has."""
        self._thread.join(max(deadline - time.monotonic(), 0.01))
        return not self._thread.is_alive()

    def _signal(self, send: Callable[[subprocess.Popen[bytes]], None]) -> None:
        with self._lock:
            self._stopping.set()
            if self._child is not None:
                send(self._child)

    def _launch(self) -> None:
        """Starts the child, unless it is to stop."""
        with self._lock:
            if self._stopping.is_set():
                return
            with self.log.open("ab") as output:
                output.write(f"--- start {self._starts + 1} at {datetime.now():%Y-%m-%d %H:%M:%S}\n".encode())
                output.flush()
                self._start_offset = output.tell()
                self._child = subprocess.Popen(
                    self.program.command(),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self.program.environment,
                    start_new_session=True,
                )
            self._starts += 1
            self._started_at = time.monotonic()
        self.on_change("")

    def _keep_running(self) -> None:
        early_deaths = 0
        while self._child is not None:
            code = self._child.wait()
            if self._child.stdin is not None:
                self._child.stdin.close()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - self._started_at
            death = _describe_end(self.program.name, code, lived)
            self.on_change(death if code != 0 else "")
            early_deaths = early_deaths + 1 if code != 0 and lived < self.policy.early_seconds else 0
            # Exit code 2 at the first start: the command line is wrong, and will be wrong the next time.
            if (code == 2 and self._starts == 1) or early_deaths >= self.policy.max_early_deaths:
                times = f", {early_deaths} times in a row" if early_deaths > 1 else ""
                self._give_up(f"{death}{times}")
                return
            # A worker that recycles itself exits with 0 and starts again at once, if it did any work.
            wait = self._wait_seconds(early_deaths) if code != 0 or lived < 1 else 0.0
            if self._stopping.wait(wait):
                return
            try:
                self._launch()
            except OSError as error:
                self._give_up(f"{self.program.name} could not be started again: {error}")
                return

    def _wait_seconds(self, early_deaths: int) -> float:
        doubled: float = self.policy.first_wait_seconds * 2 ** max(early_deaths - 1, 0)
        return min(doubled, self.policy.max_wait_seconds)

    def _give_up(self, reason: str) -> None:
        self._gave_up = GaveUp(self.program.name, reason, self.last_lines(), self.log)
        self.on_change("")

    def last_lines(self, count: int = 12) -> list[str]:
        """The last lines the child has written since its last start."""
        with self.log.open("rb") as output:
            end = output.seek(0, 2)
            output.seek(max(self._start_offset, end - _TAIL_BYTES))
            text = output.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]


def _describe_end(name: str, code: int, lived_seconds: float) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{name} {how} {lived_seconds:.1f} s after its start"
