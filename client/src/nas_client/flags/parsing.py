"""From `--flag=value …` to values: one reading rule per kind; errors name flag, found and expected."""

import argparse
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from nas_client.flags.table import CommandFlags, Flag, Group, Kind, Support
from nas_shared.cli import UsageError

_METAVARS = {
    Kind.TEXT: "TEXT",
    Kind.COUNT: "N",
    Kind.COUNT_OR_ZERO: "N",
    Kind.INTEGER: "N",
    Kind.NUMBER: "X",
    Kind.BOOLEAN: "True|False",
    Kind.KEY_VALUES: "key=value",
}


@dataclass(frozen=True)
class Values:
    """The values of a command's flags.

    Attributes:
      given: names of the flags that stood on the command line.
    """

    by_name: Mapping[str, Any]
    given: frozenset[str]

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name]


def parse(command: CommandFlags, argv: Sequence[str], *, program: str) -> Values:
    """Reads the flags of `command`; prints the help and exits when `--help` is among them.

    Raises:
      UsageError: for an unknown flag, a malformed or impossible value, a stray value, or a flag this
        version has nothing behind.
    """
    parser = _parser(command, program)
    found, rest = parser.parse_known_args(_split_lists(command, argv))
    if rest:
        raise UsageError(_explain_unknown(command, rest[0]))
    given = vars(found)
    for flag in command.flags:
        if flag.support is Support.NOT_YET and flag.name in given:
            raise UsageError(f"--{flag.name}: {_not_yet_reason(flag)}; leave the flag out")
    values = {flag.name: given.get(flag.name, flag.default) for flag in command.flags}
    return Values(values, frozenset(given))


def read_value(flag: Flag, text: str) -> Any:
    """Reads the text of a flag that is not a list.

    Raises:
      UsageError: naming the flag, what was found and what was expected.
    """
    if flag.kind is Kind.TEXT:
        return _read_choice(flag, text) if flag.choices else text
    if flag.kind is Kind.BOOLEAN:
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise _wrong(flag, text, "True or False")
    if flag.kind is Kind.NUMBER:
        return _read_number(flag, text)
    return _read_integer(flag, text)


def read_key_values(flag: Flag, items: Sequence[str]) -> dict[str, str]:
    """Reads `key=value` items; the first `=` divides, so that a value may hold others.

    Raises:
      UsageError: for an item without `=` or a key, or a key given twice.
    """
    pairs: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        # The guide also writes flags inside the list with their dashes.
        key = key.lstrip("-")
        if not equals or not key:
            raise _wrong(flag, item, "key=value")
        if key in pairs:
            raise UsageError(
                f"--{flag.name}: found {key} twice ({pairs[key]!r} and {value!r}); expected it once"
            )
        pairs[key] = value
    return pairs


def _read_choice(flag: Flag, text: str) -> str:
    for choice in flag.choices:
        if text.lower() == choice.lower():
            return choice
    near = _nearest(text, flag.choices)
    raise _wrong(flag, text, "one of " + ", ".join(flag.choices), near)


def _read_number(flag: Flag, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise _wrong(flag, text, "a number of 0 or more")
    return number


def _read_integer(flag: Flag, text: str) -> int:
    lowest = {Kind.COUNT: 1, Kind.COUNT_OR_ZERO: 0}.get(flag.kind)
    expected = "a whole number" if lowest is None else f"a whole number of {lowest} or more"
    try:
        number = int(text)
    except ValueError:
        raise _wrong(flag, text, expected) from None
    if lowest is not None and number < lowest:
        raise _wrong(flag, text, expected)
    # Counts travel as int32, seeds as int64.
    if abs(number) >= 2 ** (63 if lowest is None else 31):
        raise _wrong(flag, text, f"{expected} that is not that large")
    return number


def _wrong(flag: Flag, found: str, expected: str, hint: str = "") -> UsageError:
    return UsageError(f"--{flag.name}: found {found!r}, expected {expected}{hint}")


def _nearest(word: str, words: Sequence[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in words}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def _explain_unknown(command: CommandFlags, item: str) -> str:
    if not item.startswith("-"):
        return (
            f"{command.name}: found {item!r} where a --flag was expected; quote values that hold blanks, and "
            "list key=value pairs right behind the flag they belong to"
        )
    name = item.lstrip("-").partition("=")[0]
    near = _nearest(name, [flag.name for flag in command.flags])
    near = near.replace("mean ", "mean --") if near else f"; `{command.name} --help` lists them all"
    return f"{command.name}: unknown flag --{name}{near}"


def _not_yet_reason(flag: Flag) -> str:
    return "latency calculators of your own are not in this version; the prebuilt one can measure"


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage over many lines and exiting."""

    def error(self, message: str) -> NoReturn:
        name, _, complaint = message.removeprefix("argument ").partition(": ")
        raise UsageError(f"{name}: {complaint}" if complaint else message)


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def _parser(command: CommandFlags, program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{program} {command.name}",
        usage=f"{program} {command.name} --flag=value …",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        formatter_class=_Help,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for heading in Group:
        flags = [flag for flag in command.flags if flag.group is heading]
        if flags:
            section = parser.add_argument_group(heading.value)
            for flag in flags:
                section.add_argument(f"--{flag.name}", action=_Read, flag=flag, help=_help_text(flag))
    return parser


def _help_text(flag: Flag) -> str:
    text = flag.help
    if flag.choices:
        text += f"; one of {', '.join(flag.choices)}"
    if flag.default not in (None, "", {}):
        text += f" [default: {flag.default}]"
    return text.replace("%", "%%")


class _Read(argparse.Action):
    """Reads a value by the flag's kind, so that the errors are the table's and not argparse's."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        flag: Flag,
        help: str,
        default: Any = argparse.SUPPRESS,
    ) -> None:
        self._flag = flag
        nargs = {Kind.KEY_VALUES: "*", Kind.BOOLEAN: "?"}.get(flag.kind)
        super().__init__(
            option_strings,
            dest,
            nargs=nargs,
            const="True" if nargs == "?" else None,
            default=default,
            metavar=_METAVARS[flag.kind],
            help=help,
        )

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        flag = self._flag
        if hasattr(namespace, flag.name):
            raise UsageError(f"--{flag.name}: found twice; expected it once")
        reader = read_key_values if flag.kind is Kind.KEY_VALUES else read_value
        setattr(namespace, flag.name, reader(flag, values))


def _split_lists(command: CommandFlags, argv: Sequence[str]) -> list[str]:
    """Turns `--x_flags=a=1 b=2` into `--x_flags a=1 b=2`; argparse would end the list behind `=`."""
    lists = {f"--{flag.name}" for flag in command.flags if flag.kind is Kind.KEY_VALUES}
    words: list[str] = []
    for word in argv:
        head, equals, tail = word.partition("=")
        if equals and head in lists:
            words += [head, tail] if tail else [head]
        else:
            words.append(word)
    return words
