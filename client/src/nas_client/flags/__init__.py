"""The command line's flags: the table that declares them and the rules that read them."""

from nas_client.flags.parsing import Values, parse
from nas_client.flags.table import (
    BUILD,
    LIST_TRIALS,
    NOT_YET_COMMANDS,
    RUN_LATENCY,
    SEARCH,
    SEARCH_IN_LOCAL,
    SEARCH_RESUME,
    TRAIN_COMMAND,
)

__all__ = [
    "BUILD",
    "LIST_TRIALS",
    "NOT_YET_COMMANDS",
    "RUN_LATENCY",
    "SEARCH",
    "SEARCH_IN_LOCAL",
    "SEARCH_RESUME",
    "TRAIN_COMMAND",
    "Values",
    "parse",
]
