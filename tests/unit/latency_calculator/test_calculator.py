"""The parent of a measurement survives whatever its child does."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nas_latency.calculator import Calculator, Stopped
from nas_latency.messages import Failure, InputOptions, MeasureError, MeasureRequest

FAKE_PROBE = Path(__file__).with_name("fake_probe.py")


@pytest.fixture
def calculator(tmp_path):
    return Calculator(lock_dir=str(tmp_path), probe_command=[sys.executable, str(FAKE_PROBE)])


@pytest.fixture
def model(tmp_path):
    """Makes the directory of a model on which the fake probe behaves as its name says."""

    def make(name, **options):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        (directory / "saved_model.pb").touch()
        return MeasureRequest(str(directory), **options)

    return make


def noted(tmp_path, word):
    """Process ids that the fake probe noted beside `word`."""
    path = tmp_path / "log.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[-2 if word == "grandchild" else -1]) for line in lines if line.startswith(word)]


def is_running(pid):
    """Whether the process runs; one that is dead but not yet reaped by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("name", ["ok", "slow_writer"])
def test_result_arrives_whole(calculator, model, name):
    result = calculator.measure(model(name))
    assert result.latency_p50_ms == 1.5
    assert result.memory_bytes == 123_456_789_012


@pytest.mark.parametrize(
    ("name", "failure", "message"),
    [
        ("segfault", Failure.CRASHED, "was killed by SIGSEGV while running the first inferences"),
        ("traceback", Failure.CRASHED, "exit code 1 .*: RuntimeError: a defect of the probe"),
        ("silent", Failure.CRASHED, "exit code 0 .*: it wrote no error"),
        ("killed", Failure.OUT_OF_MEMORY, "was killed by SIGKILL .*: out of memory, most likely"),
        ("bad_alloc", Failure.OUT_OF_MEMORY, "was killed by SIGABRT .*: out of memory, most likely"),
        ("out_of_memory", Failure.OUT_OF_MEMORY, "OOM when allocating"),
        ("unusable", Failure.INVALID_MODEL, "found no signature"),
        ("options", Failure.INVALID_OPTIONS, "image_height: not given"),
    ],
)
def test_death_of_the_child_is_a_typed_error_that_names_the_model(calculator, model, name, failure, message):
    request = model(name)
    with pytest.raises(MeasureError, match=message) as error:
        calculator.measure(request)
    assert error.value.failure is failure
    assert request.saved_model_dir in str(error.value)
    # The device is free again at once.
    assert calculator.measure(model("ok")).count == 100


def test_hanging_model_is_killed_with_all_it_started(calculator, model, tmp_path):
    with pytest.raises(MeasureError, match=r"took longer than 0\.5 s and was ended while running") as error:
        calculator.measure(model("hang", timeout_seconds=0.5))
    assert error.value.failure is Failure.TIMED_OUT
    [child] = noted(tmp_path, "start")
    [grandchild] = noted(tmp_path, "grandchild")
    assert not is_running(child)
    assert eventually(lambda: not is_running(grandchild))


def test_order_to_stop_kills_the_child_within_a_second(calculator, model, tmp_path):
    asked = threading.Event()
    threading.Timer(1.0, asked.set).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        calculator.measure(model("hang"), asked.is_set)
    assert time.monotonic() - start < 2.5
    assert not any(map(is_running, noted(tmp_path, "start")))


def test_one_measurement_at_a_time(calculator, model, tmp_path):
    request = model("slow")
    threads = [threading.Thread(target=calculator.measure, args=(request,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = [line.split()[0] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert words == ["start", "end"] * 4


def test_waiting_for_the_device_does_not_count_as_measuring(calculator, model):
    # Four times 0.3 s on the device, and a time-out that only the wait would exceed.
    request = model("slow", timeout_seconds=0.9)
    results = []
    threads = [threading.Thread(target=lambda: results.append(calculator.measure(request))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4


def test_killed_calculator_takes_its_child_along_and_frees_the_device(calculator, model, tmp_path):
    request = model("hang")
    program = (
        "import sys\n"
        "from nas_latency.calculator import Calculator\n"
        "from nas_latency.messages import MeasureRequest\n"
        f"Calculator(lock_dir={str(tmp_path)!r}, probe_command=[sys.executable, {str(FAKE_PROBE)!r}])"
        f".measure(MeasureRequest({request.saved_model_dir!r}))\n"
    )
    # The fake probe has no watcher of its own: the real one's is what is tested here.
    program = program.replace(repr(str(FAKE_PROBE)), repr(str(_watched_probe(tmp_path))))
    other = subprocess.Popen([sys.executable, "-c", program])
    assert eventually(lambda: noted(tmp_path, "grandchild"), 20)
    other.kill()
    other.wait()
    pids = noted(tmp_path, "start") + noted(tmp_path, "grandchild")
    assert eventually(lambda: not any(map(is_running, pids)))
    assert calculator.measure(model("ok")).count == 100


def _watched_probe(tmp_path):
    """The fake probe with the real one's thread that watches over its parent."""
    path = tmp_path / "watched_probe.py"
    path.write_text(
        "import runpy, threading\n"
        "from nas_latency import probe\n"
        "threading.Thread(target=probe.die_with_parent, daemon=True).start()\n"
        f"runpy.run_path({str(FAKE_PROBE)!r}, run_name='__main__')\n"
    )
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "abacus"}, "runtime: found 'abacus'; expected one of tensorflow"),
        ({"repetitions": -1}, "repetitions: found -1; expected a number above 0"),
        ({"timeout_seconds": 0.0}, "timeout: found 0; expected a number above 0"),
        ({"inputs": InputOptions(batch_size=-2)}, "batch_size: found -2"),
        ({"inputs": InputOptions(image_width=-2)}, "image_width: found -2"),
    ],
)
def test_wrong_option_is_refused_before_a_process_starts(calculator, model, tmp_path, options, message):
    with pytest.raises(MeasureError, match=message) as error:
        calculator.measure(model("ok", **options))
    assert error.value.failure is Failure.INVALID_OPTIONS
    assert noted(tmp_path, "start") == []


def test_missing_directory_and_directory_without_model_are_told_apart(calculator, tmp_path):
    with pytest.raises(MeasureError, match=r"saved_model_dir: .*gone' is no directory") as error:
        calculator.measure(MeasureRequest(str(tmp_path / "gone")))
    assert error.value.failure is Failure.NOT_FOUND
    with pytest.raises(MeasureError, match=r"is no SavedModel: it has no saved_model\.pb") as error:
        calculator.measure(MeasureRequest(str(tmp_path)))
    assert error.value.failure is Failure.INVALID_MODEL


def test_unknown_device_type_is_refused(tmp_path):
    with pytest.raises(ValueError, match="device type 'TPU': expected one of CPU"):
        Calculator("TPU", lock_dir=str(tmp_path))


def test_calculators_leave_no_processes_and_no_descriptors_behind(calculator, model):
    calculator.measure(model("ok"))
    before = len(os.listdir("/proc/self/fd"))
    calculator.measure(model("ok"))
    with pytest.raises(MeasureError):
        calculator.measure(model("segfault"))
    with pytest.raises(Stopped):
        calculator.measure(model("hang"), lambda: True)
    assert len(os.listdir("/proc/self/fd")) == before
