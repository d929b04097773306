"""Ctrl-C in two steps: the first asks, the second insists."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP within the block.

    The first one only sets `exit_code`, so that the command can end in order; the second one raises
    KeyboardInterrupt wherever the main thread is. Only the main thread may enter the block.

    Attributes:
      exit_code: what a shell expects after the signal, 130 for SIGINT; None before one came.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in self._SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code is not None:
            raise KeyboardInterrupt
        self.exit_code = 128 + number
