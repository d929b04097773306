"""Finds a search space by the name a user gives."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import pyglove as pg

from nas_shared.search_spaces import mnasnet, spinenet
from nas_shared.search_spaces.encoding import SearchSpaceError
from nas_shared.search_spaces.space import SearchSpace

_SHIPPED: dict[str, tuple[Any, dict[str, Any], Callable[[Mapping[str, Any]], object]]] = {
    # name: (function that returns the hyper value, networks it is known to hold, what a point builds)
    "mnasnet": (mnasnet.mnasnet, {"mobilenet_v2": mnasnet.MOBILENET_V2}, mnasnet.network),
    "mnasnet_a1": (mnasnet.mnasnet_a1, {"mnasnet_a1": mnasnet.MNASNET_A1}, mnasnet.network),
    "spinenet": (spinenet.spinenet, {"spinenet49": spinenet.SPINENET_49}, spinenet.network),
}

NAMES: tuple[str, ...] = tuple(_SHIPPED)
"""Names of the spaces this version ships."""


@functools.cache
def load(name: str) -> SearchSpace:
    """The search space called `name`; the same object every time.

    Args:
      name: one of `NAMES`, or `module:attribute`, where the attribute is a PyGlove hyper
          value or a function without arguments that returns one.
    Raises:
      SearchSpaceError: no such space, or one that cannot be searched; says why.
    """
    if name in _SHIPPED:
        build, references, network = _SHIPPED[name]
        return SearchSpace(name, build(), references, network)
    if ":" not in name:
        raise SearchSpaceError(
            f"search space {name!r} is not known; expected one of {', '.join(NAMES)}, "
            "or module:attribute of your own"
        )
    return SearchSpace(name, _import(name))


def _import(name: str) -> Any:
    """The hyper value that `module:attribute` names."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise SearchSpaceError(f"search space {name!r}: expected module:attribute")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SearchSpaceError(
            f"search space {name!r}: no module named {error.name!r} on the Python path"
        ) from error
    except Exception as error:  # The module is the user's: it may raise anything.
        raise SearchSpaceError(
            f"search space {name!r}: importing {module_name} failed: {_in_words(error)}"
        ) from error
    try:
        value = getattr(module, attribute)
    except AttributeError as error:
        raise SearchSpaceError(
            f"search space {name!r}: module {module_name} has no attribute {attribute!r}"
        ) from error
    if callable(value) and not isinstance(value, pg.Symbolic):
        try:
            value = value()
        except Exception as error:  # The function is the user's, too.
            raise SearchSpaceError(
                f"search space {name!r}: {attribute}() failed: {_in_words(error)}"
            ) from error
    return value


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
