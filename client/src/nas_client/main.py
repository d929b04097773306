"""`vertex_nas_cli.py COMMAND --flag=value …`: finds the command, reads its flags, runs it."""

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence

from nas_client import program, trainer_program
from nas_client.flags import (
    BUILD,
    LIST_TRIALS,
    NOT_YET_COMMANDS,
    RUN_LATENCY,
    SEARCH,
    SEARCH_IN_LOCAL,
    SEARCH_RESUME,
    TRAIN_COMMAND,
    Values,
    parse,
)
from nas_client.flags.table import CommandFlags
from nas_shared.cli import EXIT_OK, UsageError, run_command

# Programs of the trainer that have flags of their own.
_TRAINER_PROGRAMS = {
    "prepare_data": "make TFRecord files of built-in sets or of your own images",
    "check_data": "report what is in TFRecord files, what is wrong with them, and draw some of it",
}
_COMMANDS: tuple[CommandFlags, ...] = (
    BUILD,
    SEARCH_IN_LOCAL,
    SEARCH,
    SEARCH_RESUME,
    TRAIN_COMMAND,
    LIST_TRIALS,
    RUN_LATENCY,
)
# Where the function of each is.
_MODULES = {
    "build": "build",
    "search_in_local": "local",
    "search": "search",
    "search_resume": "search",
    "train": "train",
    "list_trials": "list_trials",
    "run_latency_calculator_local": "latency",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: the command and its flags; those of the process without them.
    Returns:
      Exit code: 0, 1 after a failure, 2 after bad usage, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _run(words), debug=_wants_debug(words))


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return EXIT_OK
    name, rest = words[0], words[1:]
    if name in _TRAINER_PROGRAMS:
        return trainer_program.run(name, rest)
    if name in NOT_YET_COMMANDS:
        raise UsageError(f"{name}: this command is not in this version yet; there are {', '.join(_names())}")
    command = next((command for command in _COMMANDS if command.name == name), None)
    if command is None:
        close = difflib.get_close_matches(name, [*_names(), *NOT_YET_COMMANDS], n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(_names())}"
        raise UsageError(f"found unknown command {name!r}; {hint}")
    values = parse(command, rest, program=program.name())
    return _action(command)(values)


def _action(command: CommandFlags) -> Callable[[Values], int]:
    # What a command needs is imported with it: the help and a usage error come at once.
    module = importlib.import_module(f"nas_client.{_MODULES[command.name]}")
    action: Callable[[Values], int] = getattr(module, command.name)
    return action


def _names() -> list[str]:
    return [*(command.name for command in _COMMANDS), *_TRAINER_PROGRAMS]


def _overview() -> str:
    lines = [f"{program.name()} COMMAND --flag=value …", "", "commands:"]
    lines += [f"  {command.name:<28} {command.summary}" for command in _COMMANDS]
    lines += [f"  {name:<28} {summary}" for name, summary in _TRAINER_PROGRAMS.items()]
    lines += ["", "`COMMAND --help` lists the flags of a command.", ""]
    lines += [f"not in this version yet: {', '.join(NOT_YET_COMMANDS)}"]
    return "\n".join(lines)


def _wants_debug(words: Sequence[str]) -> bool:
    """Read before the flags are: also a usage error may be looked into."""
    for word in words:
        if word.startswith("--debug"):
            return word.partition("=")[2].lower() not in ("false", "0", "no")
    return False


if __name__ == "__main__":
    sys.exit(main())
