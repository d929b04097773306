"""Habits every command shares: exit codes, errors in one line, ending with the parent."""

import argparse
import subprocess
import sys
import time

import grpc
import pytest

from nas_shared.cli import (
    EXIT_FAILURE,
    EXIT_USAGE,
    CommandError,
    UsageError,
    add_common_flags,
    run_command,
)


class Paragraph(grpc.RpcError):
    def __str__(self) -> str:
        return "<RpcError that terminated with:\n\tstatus = UNAVAILABLE\n\tdetails = gone\n>"


def raising(error: BaseException):
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize("code", [0, 1, 2, 7])
def test_the_exit_code_of_a_command_that_ends_well_is_its_own(code, capsys):
    assert run_command(lambda: code, debug=False) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("--trials=0: expected 1 or more"), EXIT_USAGE, "error: --trials=0: expected 1 or more"),
        (CommandError("nobody answers"), EXIT_FAILURE, "error: nobody answers"),
        (
            KeyError("height"),
            EXIT_FAILURE,
            "error: KeyError: 'height' (run with --debug for the traceback)",
        ),
        (
            OSError(28, "No space left", "/data/x"),
            EXIT_FAILURE,
            "error: OSError: [Errno 28] No space left: '/data/x' (run with --debug for the traceback)",
        ),
        (
            Paragraph(),
            EXIT_FAILURE,
            "error: Paragraph: <RpcError that terminated with: status = UNAVAILABLE details = gone > "
            "(run with --debug for the traceback)",
        ),
    ],
)
def test_an_error_is_one_line_on_stderr_and_an_exit_code(error, code, line, capsys):
    assert run_command(raising(error), debug=False) == code
    assert capsys.readouterr() == ("", line + "\n")


def test_ctrl_c_is_no_error_but_an_exit_code_of_its_own(capsys):
    assert run_command(raising(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error", [UsageError("a"), CommandError("b"), ValueError("c"), KeyboardInterrupt(), SystemExit(3)]
)
def test_debug_lets_every_error_through(error):
    with pytest.raises(type(error)) as raised:
        run_command(raising(error), debug=True)
    assert raised.value is error


def test_the_exit_of_argparse_passes():
    with pytest.raises(SystemExit) as raised:
        run_command(raising(SystemExit(2)), debug=False)
    assert raised.value.code == 2


def test_the_common_flags_are_off_unless_given():
    parser = argparse.ArgumentParser()
    add_common_flags(parser)
    assert vars(parser.parse_args([])) == {"exit_with_parent": False, "debug": False}
    assert vars(parser.parse_args(["--exit_with_parent", "--debug"])) == {
        "exit_with_parent": True,
        "debug": True,
    }


START = "import os, signal, sys, time\nfrom nas_shared.cli import exit_process, exit_with_parent\n"


def child(program: str, *arguments: str, **kwargs) -> subprocess.Popen[str]:
    """A process that says "ready" when it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


WATCHING = "exit_with_parent()\nprint('ready', flush=True)\ntime.sleep(30)"
IN_GOOD_ORDER = """
def end(signum, frame):
    print("ended by", signal.Signals(signum).name, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
"""


def test_a_child_ends_in_good_order_when_its_standard_input_closes():
    process = child(IN_GOOD_ORDER + WATCHING, stdin=subprocess.PIPE)
    assert process.communicate(timeout=10) == ("ended by SIGTERM\n", "")
    assert process.returncode == 0


def test_a_child_lives_while_its_parent_writes_or_is_silent():
    process = child(WATCHING, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("still here\n" * 1000)
    process.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.communicate(timeout=10)
    assert process.returncode < 0


PARENT = """
import subprocess
command = [sys.executable, "-c", sys.argv[1]]
grandchild = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
grandchild.stdout.readline()
print("ready", flush=True)
print(grandchild.pid, flush=True)
grandchild.wait()
"""


def test_a_child_dies_with_a_parent_that_was_killed():
    parent = child(PARENT, START + WATCHING, stdin=subprocess.DEVNULL)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_without_standard_input_ends_at_once():
    program = IN_GOOD_ORDER + "os.close(0)\nprint('ready', flush=True)\nexit_with_parent()\ntime.sleep(30)"
    process = child(program, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.wait(10) == 0


def test_a_process_exits_though_a_thread_of_a_library_goes_on():
    program = (
        "import threading\nthreading.Thread(target=time.sleep, args=(30,)).start()\n"
        "print('ready', flush=True)\nprint('last words', end='')\nexit_process(3)"
    )
    process = child(program, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.read() == "last words"
    assert process.wait(10) == 3
