"""The command line's flags: the table that declares them and the rules that read them."""

from nas_client.flags.parsing import Values, parse
from nas_client.flags.table import LIST_TRIALS, NOT_YET_COMMANDS, SEARCH, SEARCH_RESUME

__all__ = ["LIST_TRIALS", "NOT_YET_COMMANDS", "SEARCH", "SEARCH_RESUME", "Values", "parse"]
