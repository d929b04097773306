"""Users' programs as local processes: what they are given, what they leave, and everything they do wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from nas.v1 import resources_pb2

from nas_shared.work import StopReason, TaskFailed, TaskStopped

sys.path.insert(0, str(Path(__file__).parent))

from program_runs import REPORT, FakeRun, handle, script, task


def python(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", REPORT + text]


def gone(pid: int) -> bool:
    """Whether no such process runs; one that waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(condition, what, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.02)


def failure(run: FakeRun, **kwargs) -> TaskFailed:
    with pytest.raises(TaskFailed) as error:
        handle(run, **kwargs)
    assert "\n" not in error.value.message
    return error.value


# What a program is given, and what becomes of its last report


def test_a_program_gets_the_arguments_and_the_environment_of_the_contract(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_LATENCY_ENDPOINT", "127.0.0.1:8500")
    tell = (
        "import sys\n"
        "names = [n for n in os.environ if n.startswith(('CLOUD_ML', 'AIP', 'NAS_LATENCY', 'CUDA'))]\n"
        "print(json.dumps([sys.argv[1:], {n: os.environ[n] for n in names}]))\n"
        "report(accuracy=0.5)\n"
    )
    run = FakeRun(task(tmp_path, python(tell), flags={"epochs": "3", "data": "a=b c"}))
    handle(run)
    trial = tmp_path / "nas/search/7"
    arguments, variables = json.loads((trial / "attempts/1/program.log").read_text())
    assert arguments == [
        '--nas_params_str={"units": "0/2 (8)"}',
        "--data=a=b c",
        "--epochs=3",
        f"--job-dir={trial}",
    ]
    assert variables == {
        "AIP_MODEL_DIR": f"{trial}/model",
        "CLOUD_ML_HP_METRIC_FILE": f"{trial}/attempts/1/metrics.jsonl",
        "CLOUD_ML_HP_METRIC_TAG": "accuracy",
        "CLOUD_ML_JOB_ID": "3",
        "CLOUD_ML_TRIAL_ID": "7",
        "CUDA_VISIBLE_DEVICES": "-1",
        "NAS_LATENCY_ENDPOINT": "127.0.0.1:8500",
    }
    assert (trial / "attempts/1/nas_params_str.json").read_text() == '{"units": "0/2 (8)"}'


def test_the_last_report_is_the_outcome_with_its_flops_and_the_pairs_that_are_numbers(tmp_path):
    text = (
        "report(accuracy=0.1, global_step=1)\n"
        "report(accuracy=0.75, global_step=20, model_flops=3000, trial=7, timestamp=1.5,\n"
        "       checkpoint_path='x', key_0='loss', value_0=0.25, key_1='by', value_1='adam',\n"
        "       key_4='f1', value_4='nan')\n"
    )
    outcome = handle(FakeRun(task(tmp_path, python(text))))
    assert outcome.step == 20
    assert outcome.metrics == {"accuracy": 0.75, "model_flops": 3000.0, "loss": 0.25}


def test_a_report_arrives_while_the_program_runs_and_half_a_line_is_waited_for(tmp_path):
    go_on = tmp_path / "go_on"
    text = (
        "import time\n"
        "path = os.environ['CLOUD_ML_HP_METRIC_FILE']\n"
        "report(accuracy=0.5, global_step=1)\n"
        "report(end='', accuracy=0.6, global_step=2)\n"
        "with open(path, 'a') as file: file.write('\\n{\"accuracy\": \"0.')\n"
        f"while not os.path.exists({str(go_on)!r}): time.sleep(0.02)\n"
        "with open(path, 'a') as file: file.write('7\"}\\n')\n"
    )
    run = FakeRun(task(tmp_path, python(text)))
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(handle(run)))
    thread.start()
    eventually(lambda: len(run.reports) == 2, "two reports arrive")
    assert thread.is_alive()
    go_on.touch()
    thread.join(10)
    assert [(step, metrics["accuracy"]) for step, metrics, _ in run.reports] == [(1, 0.5), (2, 0.6), (0, 0.7)]
    assert outcomes[0].metrics == {"accuracy": 0.7}


def test_a_long_architecture_is_handed_over_as_the_path_of_a_file(tmp_path):
    text = (
        "import sys\n"
        "path = sys.argv[1].partition('=')[2]\n"
        "report(accuracy=len(json.load(open(path))['units']))\n"
    )
    made = task(tmp_path, python(text))
    made.train.nas_params_str = json.dumps({"units": "x" * 200_000})
    assert handle(FakeRun(made)).metrics["accuracy"] == 200_000


def test_a_measured_job_gets_its_saved_model_reported_before_the_trial_completes(tmp_path):
    text = (
        "open(os.path.join(os.environ['AIP_MODEL_DIR'], 'saved_model.pb'), 'w')\n"
        "report(accuracy=0.5, global_step=9)\n"
    )
    run = FakeRun(task(tmp_path, python(text), measured=True))
    handle(run)
    assert run.reports[-1] == (9, {}, f"{tmp_path}/nas/search/7/model")


# What a program can do wrong


def test_a_measured_job_without_a_saved_model_says_where_it_was_expected(tmp_path):
    failed = failure(FakeRun(task(tmp_path, python("report(accuracy=0.5)"), measured=True)))
    assert failed.reason == resources_pb2.INVALID_MODEL
    assert f"{tmp_path}/nas/search/7/model (AIP_MODEL_DIR) has no saved_model.pb" in failed.message


def test_an_exit_code_is_named_with_the_last_words_of_the_program(tmp_path):
    text = "import sys\nreport(accuracy=0.5)\nprint('one\\ntwo\\nthree\\nfour', file=sys.stderr)\nsys.exit(3)"
    failed = failure(FakeRun(task(tmp_path, python(text))))
    assert (failed.reason, failed.retryable) == (resources_pb2.INTERNAL, False)
    assert failed.message == "the program ended with exit code 3; its last words: two | three | four"


@pytest.mark.parametrize(
    ("signum", "reason", "words"),
    [
        (signal.SIGKILL, resources_pb2.RESOURCE_EXHAUSTED, "SIGKILL (out of memory, most likely)"),
        (signal.SIGSEGV, resources_pb2.INTERNAL, "SIGSEGV; it printed nothing"),
        (signal.SIGTERM, resources_pb2.INTERNAL, "SIGTERM; it printed nothing"),
    ],
)
def test_a_program_killed_by_a_signal_may_be_tried_again(tmp_path, signum, reason, words):
    failed = failure(FakeRun(task(tmp_path, python(f"os.kill(os.getpid(), {int(signum)})"))))
    assert (failed.reason, failed.retryable) == (reason, True)
    assert f"the program was killed by {words}" in failed.message


@pytest.mark.parametrize("prints", ["", "hello"])
def test_a_program_that_reports_nothing_fails_although_it_ends_well(tmp_path, prints):
    failed = failure(FakeRun(task(tmp_path, ["sh", "-c", f"echo {prints}"])))
    assert failed.reason == resources_pb2.INTERNAL
    assert "reported no metric; expected 'accuracy' in" in failed.message
    assert failed.message.endswith("its last words: hello" if prints else "it printed nothing")


def test_a_partial_last_line_fails_when_the_program_has_ended(tmp_path):
    text = (
        "report(accuracy=0.5)\nopen(os.environ['CLOUD_ML_HP_METRIC_FILE'], 'a').write('{\"accuracy\": \"0.')"
    )
    failed = failure(FakeRun(task(tmp_path, python(text))))
    assert failed.reason == resources_pb2.INTERNAL
    assert (
        'metrics.jsonl, line 2: found \'{"accuracy": "0.\'; expected one whole JSON object' in failed.message
    )


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("skip", ["True", "False"])
def test_a_metric_that_is_no_number_any_more_is_a_nan_loss(tmp_path, value, skip):
    text = f"report(accuracy=0.5)\nreport(accuracy='{value}')"
    run = FakeRun(task(tmp_path, python(text), flags={"skip_nan_error": skip}))
    failed = failure(run)
    assert (failed.reason, failed.infeasible) == (resources_pb2.NAN_LOSS, skip == "True")
    assert f"accuracy: found {value} in the last line of" in failed.message
    assert all(metrics == {"accuracy": 0.5} for _, metrics, _ in run.reports)


def test_another_metric_is_named_and_fails_the_whole_job(tmp_path):
    failed = failure(FakeRun(task(tmp_path, python("report(AP=0.5, key_0='loss', value_0=1)"))))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert failed.message.endswith("found AP, loss; expected the reward metric 'accuracy'")


def test_a_program_that_never_ends_is_ended_with_all_it_started(tmp_path):
    pids = tmp_path / "pids"
    stubborn = f"trap '' TERM; sleep 600 & echo $$ $! > {pids}; while :; do sleep 0.1; done"
    run = FakeRun(task(tmp_path, ["bash", "-c", stubborn], timeout=0.5))
    started = time.monotonic()
    failed = failure(run, grace_seconds=0.3)
    assert time.monotonic() - started < 5
    assert (failed.reason, failed.retryable) == (resources_pb2.TIMEOUT, False)
    assert failed.message.startswith("the program took longer than its 0.5 s and was ended")
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: gone(int(pid)), "the program is gone")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file or directory"),
        ("no program", "Exec format error"),
        ("#!/nowhere/python\n", "No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_started_fails_the_whole_job(tmp_path, text, words):
    command = str(tmp_path / "train")
    if text is not None:
        script(tmp_path / "train", text)
    failed = failure(FakeRun(task(tmp_path, [command])))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert failed.message == f"the program cannot be started: command '{command}': {words}"


def test_a_file_that_is_not_executable_fails_the_whole_job(tmp_path):
    (tmp_path / "train.py").write_text("print()")
    failed = failure(FakeRun(task(tmp_path, [str(tmp_path / "train.py")])))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert "Permission denied" in failed.message


@pytest.mark.parametrize("flag", ["nas_params_str", "job-dir"])
def test_a_flag_that_would_hide_the_trials_own_is_refused(tmp_path, flag):
    failed = failure(FakeRun(task(tmp_path, ["true"], flags={flag: "x"})))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert failed.message == f"{flag}: every trial gets its own; leave the flag out"


def test_more_gpus_than_the_runner_has_are_refused_and_its_own_are_handed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    text = "print(os.environ['CUDA_VISIBLE_DEVICES'])\nreport(accuracy=1)"
    handle(FakeRun(task(tmp_path, python(text), gpus=2)), num_gpus=3)
    assert (tmp_path / "nas/search/7/attempts/1/program.log").read_text() == "2,5\n"
    failed = failure(FakeRun(task(tmp_path, python(text), gpus=4)), num_gpus=3)
    assert failed.reason == resources_pb2.INVALID_JOB
    assert "the job asks for 4 x GPU; this runner has 3" in failed.message


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "nas").write_text("a file")
    failed = failure(FakeRun(task(tmp_path, ["true"])))
    assert failed.reason == resources_pb2.INTERNAL
    assert str(tmp_path / "nas") in failed.message


# Stopping


@pytest.mark.parametrize("reason", list(StopReason))
def test_a_program_that_is_to_stop_may_say_goodbye_unless_its_lease_is_lost(tmp_path, reason):
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye', flush=True), sys.exit(0)))\n"
        "report(accuracy=0.1)\n"
        "time.sleep(600)\n"
    )
    run = FakeRun(task(tmp_path, python(text)))
    ended = []

    def work():
        with pytest.raises(TaskStopped):
            handle(run)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    assert run.reported.wait(10)
    started = time.monotonic()
    run.stop(reason)
    thread.join(10)
    assert ended
    assert time.monotonic() - started < 3
    said = (tmp_path / "nas/search/7/attempts/1/program.log").read_text()
    assert said == ("" if reason is StopReason.LEASE_LOST else "goodbye\n")


def test_what_a_program_leaves_running_ends_with_it(tmp_path):
    pid_file = tmp_path / "pid"
    text = (
        f"import subprocess\nopen({str(pid_file)!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid))"
    )
    handle(FakeRun(task(tmp_path, python(text + "\nreport(accuracy=1)"))))
    eventually(lambda: gone(int(pid_file.read_text())), "the left-over is gone")


RUNNER = """
import sys, time
from pathlib import Path
from nas_trainer.programs.process import LocalProcess
directory = Path(sys.argv[1])
process = LocalProcess(["bash", "-c", sys.argv[2]], {"PATH": "/usr/bin:/bin"}, directory / "log",
                       last_will=["touch", str(directory / "last_will")])
print(process._guard.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["runner", "guard"])
def test_no_program_survives_a_killed_runner_or_guard(tmp_path, victim):
    pids = tmp_path / "pids"
    command = [sys.executable, "-c", RUNNER, str(tmp_path), f"sleep 600 & echo $$ $! > {pids}; wait"]
    runner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        guard = int(runner.stdout.readline())
        eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, "the program starts")
        program, child = (int(pid) for pid in pids.read_text().split())
        os.kill(runner.pid if victim == "runner" else guard, signal.SIGKILL)
        eventually(lambda: gone(program), "the program is gone")
        if victim == "runner":
            eventually(lambda: gone(child), "what it started is gone")
            assert (tmp_path / "last_will").exists()
        else:
            os.kill(child, signal.SIGKILL)
    finally:
        runner.kill()
        runner.wait()


def test_the_runner_needs_no_tensorflow():
    code = (
        "import sys\n"
        "sys.modules['tensorflow'] = None\n"
        "import nas_trainer.programs.main\n"
        "print(sorted({n.partition('.')[0] for n, m in sys.modules.items() if m is not None}\n"
        "      & {'tensorflow', 'tf_keras', 'official', 'numpy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num_gpus=1"], "belong together"),
        (["--num_gpus=-1"], "--num_gpus=-1: expected 0 or more"),
        (["--token_file=/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_flag_of_the_runner_is_one_line_and_exit_code_2(arguments, words, capsys):
    from nas_trainer.programs.main import main

    assert main(["--orchestrator=127.0.0.1:1", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
