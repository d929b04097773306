"""Runtimes: the programs that execute a SavedModel, one file each behind one interface.

A runtime is imported by the child process only: importing this package imports none of them.
"""

import importlib
from typing import Protocol

from nas_latency.messages import InputOptions

_MODULES = {"tensorflow": "nas_latency.runtimes.tensorflow"}

NAMES: tuple[str, ...] = tuple(_MODULES)
"""Runtimes of this version. The first is the default."""


class UnusableModel(Exception):
    """The runtime cannot take this model; the message says why. Retrying does not help."""


class UnusableOptions(Exception):
    """The options do not go with the model's signature; the message names the option."""


class LoadedModel(Protocol):
    """A model in memory."""

    def prepare(self, options: InputOptions) -> int:
        """Makes the inputs that every `infer` gets; returns the inputs per inference.

        Raises:
          UnusableModel: the signature has an input that cannot be made up.
          UnusableOptions: the options contradict the signature, or leave a size open.
        """

    def infer(self) -> None:
        """One inference; returns when every output has reached the host's memory.

        Raises:
          UnusableModel: the model raised an error.
          MemoryError: memory ran out.
        """


class Runtime(Protocol):
    """What executes a model. Its module's `create(threads)` makes one."""

    def load(self, saved_model_dir: str) -> LoadedModel:
        """Reads the SavedModel.

        Raises:
          UnusableModel: it cannot be read or has no signature to call.
          MemoryError: memory ran out.
        """


def create(name: str, threads: int) -> Runtime:
    """Imports and starts the runtime called `name`, which must be one of `NAMES`.

    Args:
      threads: threads that one inference may use.
    """
    runtime: Runtime = importlib.import_module(_MODULES[name]).create(threads)
    return runtime
