"""The command line of the calculator: wrong usage is named, and nothing is left running."""

import signal
import subprocess
import sys
import threading

import pytest

from nas_latency import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "neither --orchestrator nor --listen"),
        (["--listen=127.0.0.1:0", "--device_type=TPU"], "--device_type=TPU: expected one of CPU"),
        (["--listen=127.0.0.1:0", "--threads=0"], "--threads=0: expected 1 or more"),
        (["--listen=127.0.0.1:0", "--memory_limit_mb=-1"], "--memory_limit_mb=-1"),
        (["--listen=127.0.0.1:0", "--lock_dir=no/such/place"], "--lock_dir=no/such/place: no such directory"),
        (["--listen=127.0.0.1:0", "--token_file=no/such/file"], "--token_file=no/such/file"),
    ],
)
def test_wrong_flag_is_named_with_exit_code_2(flags, message, capsys):
    assert main.main(flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("listen", ["nonsense", "0.0.0.0:0", "127.0.0.1:99999"])
def test_address_that_cannot_be_served_is_named(listen, capsys):
    assert main.main([f"--listen={listen}"]) == 1
    assert f"--listen={listen}" in capsys.readouterr().err


@pytest.fixture
def service():
    process = subprocess.Popen(
        [sys.executable, "-m", "nas_latency.main", "--listen=127.0.0.1:0", "--exit_with_parent"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    while "listens on port" not in process.stderr.readline():
        assert process.poll() is None
    yield process
    timer.cancel()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stderr):
        pipe.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_service_well(service, signum):
    service.send_signal(signum)
    assert service.wait(20) == 0


def test_service_ends_with_its_parent(service):
    service.stdin.close()
    assert service.wait(20) == 0
