"""Program runners as processes of their own, on a live orchestrator: from job to files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nas.v1 import resources_pb2

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = [sys.executable, str(EXAMPLES / "own_trainer.py")]
TRIAL = resources_pb2.Trial
JOB = resources_pb2.SearchJob


@pytest.fixture
def start_runner(orchestrator):
    runners = []

    def start(name: str = "runner-1", *flags: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "nas_trainer.programs.main", f"--worker_id={name}", *flags]
        command.append(f"--orchestrator=127.0.0.1:{orchestrator.app.port}")
        runners.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return runners[-1]

    yield start
    for runner in runners:
        runner.terminate()
    for runner in runners:
        assert runner.wait(15) in (0, -signal.SIGKILL)
        runner.stdin.close()


def train(command, *, timeout: float = 0, **flags: str) -> resources_pb2.TrainSpec:
    program = resources_pb2.Program(command=command)
    if timeout:
        program.timeout.FromNanoseconds(int(timeout * 1e9))
    return resources_pb2.TrainSpec(program=program, flags=flags)


def python(text: str) -> list[str]:
    return [sys.executable, "-c", "import os, time\nfrom nas_client import trial\n" + text]


def eventually(condition, what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_the_example_is_searched_by_two_runners_and_leaves_its_files(orchestrator, start_runner, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    start_runner("runner-1", "--exit_with_parent")
    start_runner("runner-2")
    job = orchestrator.create(
        search_space="own_space:search_space", train=train(EXAMPLE, epochs="4"), trials=4
    )
    orchestrator.wait_until_told(job.name)
    found = orchestrator.job(job.name)
    assert (found.state, found.trial_counts.succeeded) == (JOB.SUCCEEDED, 4)
    for trial in orchestrator.trials(job.name):
        assert 0.1 < trial.reward <= 1
        assert trial.latest_measurement.step == 4
        assert trial.metrics["loss"] > 0
        directory = Path(trial.trial_dir)
        assert json.loads((directory / "job_status.json").read_text()) == {"job_status": "success"}
        assert (directory / "nas_params_str.json").read_text() == trial.nas_params_str
        assert len((directory / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_the_example_exports_a_model_that_is_measured(orchestrator, start_runner, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    start_runner()
    reward = resources_pb2.RewardSpec(
        metric="accuracy", latency_ms=resources_pb2.Target(value=5, form=resources_pb2.Target.HARD)
    )
    job = orchestrator.create(
        search_space="own_space:search_space",
        train=train(EXAMPLE, epochs="2", export="True"),
        trials=1,
        measured=True,
        reward=reward,
    )
    claim = orchestrator.claim("latency-1", "MEASURE", wait=60)
    model = Path(claim.task.measure.saved_model_dir)
    assert model == Path(job.output_dir) / "nas/search/1/model"

    from nas_latency.calculator import Calculator
    from nas_latency.messages import MeasureRequest

    result = Calculator(lock_dir=str(orchestrator.directory)).measure(
        MeasureRequest(saved_model_dir=str(model), repetitions=10), lambda: False
    )
    eventually(lambda: orchestrator.trial(f"{job.name}/trials/1").metrics, "the training is in")
    trial = orchestrator.complete(claim, latency_p50_ms=result.latency_p50_ms)
    assert trial.state == TRIAL.SUCCEEDED
    assert trial.reward == pytest.approx(trial.metrics["accuracy"] * min(1, 5 / result.latency_p50_ms))


def test_a_killed_runner_takes_its_program_along_and_the_next_attempt_counts_once(
    orchestrator, start_runner, tmp_path
):
    # The first attempt hangs after a report; a later one finds its trace and ends well.
    text = (
        f"path = {str(tmp_path / 'pid')!r}\n"
        "first = not os.path.exists(path)\n"
        "trial.report(0.1 if first else 0.9, step=1)\n"
        "if first:\n"
        "    open(path + '.new', 'w').write(str(os.getpid()))\n"
        "    os.rename(path + '.new', path)\n"
        "    time.sleep(600)\n"
    )
    runner = start_runner()
    job = orchestrator.create(train=train(python(text)), trials=1)
    eventually((tmp_path / "pid").exists, "the program starts")
    pid = int((tmp_path / "pid").read_text())
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    eventually(lambda: gone(pid), "the program is gone")
    start_runner()
    orchestrator.wait_until_told(job.name)
    (trial,) = orchestrator.trials(job.name)
    assert (trial.state, trial.reward, trial.train_attempts) == (TRIAL.SUCCEEDED, 0.9, 2)
    assert orchestrator.job(job.name).trial_counts.succeeded == 1
    assert len((Path(trial.trial_dir) / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_runner_that_is_told_to_end_gives_the_trial_back_at_once(orchestrator, start_runner, tmp_path):
    text = (
        f"path = {str(tmp_path / 'started')!r}\n"
        "first = not os.path.exists(path)\n"
        "open(path, 'w').close()\n"
        "trial.report(0.5, step=1)\n"
        "time.sleep(600 if first else 0)\n"
    )
    runner = start_runner()
    job = orchestrator.create(train=train(python(text)), trials=1)
    eventually((tmp_path / "started").exists, "the program starts")
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(15) == 0
    start_runner("runner-2")
    orchestrator.wait_until_told(job.name)
    assert orchestrator.trials(job.name)[0].state == TRIAL.SUCCEEDED


def test_a_cancelled_job_ends_its_program_and_frees_the_runner(orchestrator, start_runner, tmp_path):
    pid_file = tmp_path / "pid"
    # Reports over and over: the answer to a report brings the order to stop.
    text = (
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
        "for step in range(3000):\n    trial.report(0.5, step=step)\n    time.sleep(0.2)\n"
    )
    start_runner()
    job = orchestrator.create(train=train(python(text)), trials=1)
    eventually(lambda: pid_file.exists() and pid_file.read_text(), "the program starts")
    orchestrator.cancel(job.name)
    eventually(lambda: orchestrator.job(job.name).state == JOB.CANCELLED, "the job is cancelled")
    assert gone(int(pid_file.read_text()))
    following = orchestrator.create(train=train(python("trial.report(0.5, step=1)")), trials=1)
    orchestrator.wait_until_told(following.name)
    assert orchestrator.job(following.name).state == JOB.SUCCEEDED


@pytest.mark.parametrize(
    ("text", "timeout", "reason", "words"),
    [
        ("raise SystemExit('no data')", 0, "INTERNAL", "exit code 1; its last words: no data"),
        ("time.sleep(600)", 1, "TIMEOUT", "took longer than its 1 s"),
        ("trial.report(float('nan'), step=1)", 0, "NAN_LOSS", "accuracy: found nan"),
        (
            "os.environ['CLOUD_ML_HP_METRIC_TAG'] = 'AP'; trial.report(1, step=1)",
            0,
            "INVALID_JOB",
            "found AP",
        ),
    ],
)
def test_a_program_that_fails_fails_its_trial_with_one_clear_sentence(
    orchestrator, start_runner, text, timeout, reason, words
):
    start_runner()
    job = orchestrator.create(train=train(python(text), timeout=timeout), trials=1)
    orchestrator.wait_until_told(job.name)
    (trial,) = orchestrator.trials(job.name)
    assert trial.state == TRIAL.FAILED
    assert resources_pb2.FailureReason.Name(trial.failure_reason) == reason
    assert words in trial.error_message
    assert orchestrator.job(job.name).state == JOB.FAILED


def test_a_runner_and_a_trainer_on_cpu_never_take_each_others_trials(orchestrator, start_runner):
    prebuilt = orchestrator.create("prebuilt", trials=1)
    start_runner()
    own = orchestrator.create("own", train=train(python("trial.report(0.5, step=1)")), trials=1)
    assert orchestrator.claim("trainer-1").task.name.startswith(prebuilt.name)
    assert not orchestrator.claim("trainer-2").HasField("task")
    orchestrator.wait_until_told(own.name)
    assert orchestrator.trials(prebuilt.name)[0].state == TRIAL.ACTIVE
    assert os.path.isfile(f"{own.output_dir}/nas/search/1/program.log")
