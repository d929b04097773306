"""Starts the embedded stack, keeps it running, and stops it in order."""

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from nas_client.embedded import programs
from nas_client.embedded.directory import Directory
from nas_client.embedded.programs import Workers
from nas_client.embedded.supervisor import GaveUp, Program, RestartPolicy, Supervisor
from nas_shared.cli import CommandError

_READY_SECONDS = 60.0
# A trainer finishes its step, keeps a checkpoint and gives its task back.
_GRACE_SECONDS = 15.0


class Stack:
    """One orchestrator and the workers around it, in one directory.

        with Stack(Directory("runs")) as stack:
            stack.start_orchestrator()
            stack.start_workers(Workers(trainers=2, measure_device_type="CPU"))
            … SearchClient(stack.endpoint) …

    Leaving the block stops everything: SIGTERM to the workers, then to the orchestrator, SIGKILL to what
    is still there after a grace period.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        lease_seconds: float | None = None,
        debug: bool = False,
        policy: RestartPolicy | None = None,
    ):
        self._directory = directory
        self._lease_seconds = lease_seconds
        self._debug = debug
        self._policy = policy or RestartPolicy()
        self._port: int | None = None
        self._orchestrator: Supervisor | None = None
        self._workers: list[Supervisor] = []
        self._write_lock = threading.Lock()
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Takes the directory's lock.

        Raises:
          CommandError: if the directory is busy or cannot be written.
        """
        self._directory.claim()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # A second Ctrl-C means now.
            self.stop(0.0 if kind is KeyboardInterrupt else _GRACE_SECONDS)
        finally:
            self.kill()
            self._directory.release()

    @property
    def endpoint(self) -> str:
        """`127.0.0.1:port` of the orchestrator; the same after each of its restarts."""
        if self._port is None:
            raise RuntimeError("start_orchestrator has not been called")
        return f"127.0.0.1:{self._port}"

    @property
    def gave_up(self) -> GaveUp | None:
        """The first child that is no longer restarted, if there is one; the search cannot go on as meant."""
        return next((child.gave_up for child in self._children() if child.gave_up), None)

    def take_news(self) -> list[str]:
        """What happened to the children since the last call, a sentence each: deaths, not recycling."""
        news = []
        while not self._news.empty():
            news.append(self._news.get())
        return news

    def start_orchestrator(self) -> None:
        """Starts the orchestrator and waits until it listens.

        Raises:
          CommandError: if it does not come up; holds the last lines of its log.
        """
        directory = self._directory
        directory.port_file.unlink(missing_ok=True)
        program = Program(
            "orchestrator",
            lambda: programs.orchestrator(
                directory, port=self._port, lease_seconds=self._lease_seconds, debug=self._debug
            ),
            programs.environment(),
        )
        self._orchestrator = self._supervisor(program)
        _start(self._orchestrator)
        deadline = time.monotonic() + _READY_SECONDS
        while (port := programs.read_port(directory.port_file)) is None:
            if self._orchestrator.gave_up:
                raise CommandError(describe(self._orchestrator.gave_up))
            if time.monotonic() > deadline:
                lines = "\n".join(f"  {line}" for line in self._orchestrator.last_lines())
                raise CommandError(
                    f"the orchestrator did not listen within {_READY_SECONDS:.0f} s; its last lines "
                    f"({self._orchestrator.log}):\n{lines}"
                )
            time.sleep(0.02)
        self._port = port
        self._write_stack()

    def start_workers(self, workers: Workers) -> None:
        """Starts the trainers and, where something is to be measured, the latency calculator."""
        device_type = workers.measure_device_type
        # Only programs of the users' own ask the calculator themselves.
        port = programs.free_port() if workers.has_program and device_type else None
        wanted = programs.trainers(workers, self.endpoint, latency_port=port, debug=self._debug)
        if device_type:
            wanted.append(
                programs.latency_calculator(device_type, self.endpoint, port=port, debug=self._debug)
            )
        for program in wanted:
            supervisor = self._supervisor(program)
            self._workers.append(supervisor)
            _start(supervisor)

    def stop(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Stops the workers first, so that they can give back what they hold, and then the orchestrator."""
        for group in (self._workers, [self._orchestrator] if self._orchestrator else []):
            _stop(group, grace_seconds)

    def kill(self) -> None:
        """Ends every child at once."""
        _stop(list(self._children()), 0.0)

    def _children(self) -> Iterator[Supervisor]:
        if self._orchestrator is not None:
            yield self._orchestrator
        yield from self._workers

    def _supervisor(self, program: Program) -> Supervisor:
        log = self._directory.logs / f"{program.name}.log"
        return Supervisor(program, log, self._note, self._policy)

    def _note(self, news: str) -> None:
        if news:
            self._news.put(news)
        self._write_stack()

    def _write_stack(self) -> None:
        with self._write_lock:
            processes = {
                child.program.name: {"pid": child.pid, "starts": child.starts, "log": str(child.log)}
                for child in self._children()
            }
            self._directory.write_stack(
                {
                    "client_pid": os.getpid(),
                    "endpoint": f"127.0.0.1:{self._port}" if self._port else "",
                    "processes": processes,
                }
            )


def describe(gave_up: GaveUp) -> str:
    """What happened and what the child said last, over several lines."""
    lines = "\n".join(f"  {line}" for line in gave_up.last_lines) or "  (nothing)"
    return f"{gave_up.reason}; its last lines ({gave_up.log}):\n{lines}"


def _start(child: Supervisor) -> None:
    try:
        child.start()
    except OSError as error:
        raise CommandError(f"{child.program.name} cannot be started: {error}") from error


def _stop(children: Sequence[Supervisor], grace_seconds: float) -> None:
    if grace_seconds > 0:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + grace_seconds
        ended = [child.wait(deadline) for child in children]
        if all(ended):
            return
    for child in children:
        child.kill()
    deadline = time.monotonic() + 5.0
    for child in children:
        child.wait(deadline)
