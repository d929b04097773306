"""How much memory this process holds.

TensorFlow keeps some tens of MB of every trial, whatever is cleared: a warm worker ends in time and
a fresh process takes its place.
"""

import logging
from collections.abc import Callable

import psutil

log = logging.getLogger(__name__)

_MB = 1e6


def grows_beyond(limit_mb: float) -> Callable[[], bool]:
    """A question to ask between trials: does this process hold more than `limit_mb`?

    Args:
        limit_mb: resident memory in MB (1e6 bytes); 0 never answers True.
    """
    process = psutil.Process()

    def is_too_large() -> bool:
        held_mb = process.memory_info().rss / _MB
        log.debug("resident memory: %.0f MB", held_mb)
        return 0 < limit_mb < held_mb

    return is_too_large
