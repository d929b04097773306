"""Users' programs in containers, with an engine that writes down what it is asked and runs commands here."""

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
from nas_trainer.programs.arguments import invocation
from nas_trainer.programs.container import ContainerSpec, container_name, run_command

sys.path.insert(0, str(Path(__file__).parent))

from program_runs import REPORT, FakeRun, handle, script, task

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture
def engine(tmp_path, monkeypatch):
    home = tmp_path / "engine"
    home.mkdir()
    (home / "images").write_text("trainer\n")
    script(home / "docker", f'#!/bin/sh\nexec {sys.executable} {FAKE_ENGINE} "$@"\n')
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ENGINE", str(home))
    return home


def image_runs(engine: Path, text: str) -> None:
    """What the entry point of the image `trainer` does."""
    (engine / "trainer").write_text(REPORT + text)


def calls(engine: Path) -> list[list[str]]:
    return [json.loads(line) for line in (engine / "calls").read_text().splitlines()]


def failure(run: FakeRun, **kwargs) -> TaskFailed:
    with pytest.raises(TaskFailed) as error:
        handle(run, **kwargs)
    assert "\n" not in error.value.message
    return error.value


def eventually(condition, what, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.02)


def test_a_container_gets_what_a_process_gets_and_its_report_is_the_outcome(tmp_path, engine):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train-0").touch()
    image_runs(engine, "report(accuracy=0.5, global_step=4)\nprint('hello')")
    flags = {"training_data_path": f"{data}/train-*", "epochs": "3", "missing": "/no/such/file"}
    outcome = handle(FakeRun(task(tmp_path, image="trainer", flags=flags)))
    assert (outcome.step, outcome.metrics) == (4, {"accuracy": 0.5})
    trial = tmp_path / "nas/search/7"
    assert (trial / "attempts/1/program.log").read_text() == "hello\n"
    (command,) = [call for call in calls(engine) if call[0] == "run"]
    name = container_name("searchJobs/3/trials/7/tasks/train", 1, trial)
    assert name.startswith("nas-searchJobs-3-trials-7-tasks-train-")
    assert command == [
        "run",
        "--rm",
        f"--name={name}",
        "--network=host",
        f"--label=nas.trial_dir={trial}",
        f"--user={os.getuid()}:{os.getgid()}",
        "--init",
        f"--mount=type=bind,source={trial},target={trial}",
        f"--mount=type=bind,source={data},target={data},readonly",
        f"--env=AIP_MODEL_DIR={trial}/model",
        f"--env=CLOUD_ML_HP_METRIC_FILE={trial}/attempts/1/metrics.jsonl",
        "--env=CLOUD_ML_HP_METRIC_TAG=accuracy",
        "--env=CLOUD_ML_JOB_ID=3",
        "--env=CLOUD_ML_TRIAL_ID=7",
        "--env=HOME=/tmp",
        "trainer",
        '--nas_params_str={"units": "0/2 (8)"}',
        "--epochs=3",
        "--missing=/no/such/file",
        f"--training_data_path={data}/train-*",
        f"--job-dir={trial}",
    ]


def test_a_command_replaces_the_entry_point_and_gpus_are_asked_for(tmp_path):
    given = invocation(task(tmp_path), {})
    spec = ContainerSpec("trainer", ("python", "train.py"), "nas-1", gpus=("2", "5"))
    docker = run_command("/usr/bin/docker", spec, given)
    assert '--gpus="device=2,5"' in docker
    image = docker.index("trainer")
    assert docker[image - 1 : image + 3] == ["--entrypoint=python", "trainer", "train.py", given.arguments[0]]
    podman = run_command("/usr/bin/podman", spec, given)
    assert {"--device=nvidia.com/gpu=2", "--device=nvidia.com/gpu=5", "--userns=keep-id"} < set(podman)
    assert not [part for part in podman if part.startswith("--gpus")]


def test_a_directory_with_a_comma_in_its_name_is_mounted_whole(tmp_path):
    given = invocation(task(tmp_path / "a,b"), {})
    trial = f"{tmp_path}/a,b/nas/search/7"
    command = run_command("docker", ContainerSpec("trainer", (), "nas-1"), given)
    assert f'--mount=type=bind,"source={trial}","target={trial}"' in command


def test_an_engine_that_does_not_run_is_named_with_its_own_words(tmp_path, engine):
    (engine / "down").touch()
    failed = failure(FakeRun(task(tmp_path, image="trainer")))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert "Cannot connect to the Docker daemon" in failed.message


def test_no_engine_at_all_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    failed = failure(FakeRun(task(tmp_path, image="trainer")))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert failed.message.startswith("--engine=auto: found no docker or podman on PATH")


def test_an_image_that_is_nowhere_fails_the_whole_job(tmp_path, engine):
    failed = failure(FakeRun(task(tmp_path, image="nobody/nothing")))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert failed.message == (
        "image: 'nobody/nothing' is not on this machine and cannot be pulled: "
        "Error response from daemon: pull access denied for nobody/nothing"
    )


def test_a_trial_that_is_to_stop_does_not_wait_for_its_image(tmp_path, engine):
    run = FakeRun(task(tmp_path, image="large"))
    stopper = threading.Timer(0.5, run.stop)
    stopper.start()
    started = time.monotonic()
    with pytest.raises(TaskStopped):
        handle(run)
    assert time.monotonic() - started < 5
    assert "run" not in [call[0] for call in calls(engine)]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/no/python", "[FATAL tini (7)] exec /no/python failed: No such file or directory"),
        ("/no/workdir", "docker: Error response from daemon: OCI runtime create failed: no cwd"),
    ],
)
def test_a_command_that_cannot_start_in_the_image_fails_the_whole_job(tmp_path, engine, command, words):
    failed = failure(FakeRun(task(tmp_path, [command, "x.py"], image="trainer")))
    assert failed.reason == resources_pb2.INVALID_JOB
    assert failed.message == f"the program cannot be started: image 'trainer': {words}"


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("print('boom')\nraise SystemExit(3)", "INTERNAL", "ended with exit code 3; its last words: boom"),
        ("raise SystemExit(127)", "INTERNAL", "ended with exit code 127; it printed nothing"),
        ("os.kill(os.getpid(), 9)", "RESOURCE_EXHAUSTED", "was killed by SIGKILL (out of memory"),
        ("", "INTERNAL", "reported no metric"),
    ],
)
def test_what_goes_wrong_in_a_container_is_told_as_of_a_process(tmp_path, engine, text, reason, words):
    image_runs(engine, text)
    failed = failure(FakeRun(task(tmp_path, image="trainer")))
    assert resources_pb2.FailureReason.Name(failed.reason) == reason
    assert words in failed.message


def test_a_container_that_never_ends_is_stopped_by_name_and_nothing_is_left(tmp_path, engine):
    image_runs(engine, "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)")
    failed = failure(FakeRun(task(tmp_path, image="trainer", timeout=1)), grace_seconds=1)
    assert failed.reason == resources_pb2.TIMEOUT
    name = container_name("searchJobs/3/trials/7/tasks/train", 1, tmp_path / "nas/search/7")
    assert ["stop", "-t", "1", name] in calls(engine)
    assert not list((engine / "containers").iterdir())


def test_a_container_that_is_to_stop_hears_it(tmp_path, engine):
    said = tmp_path / "said"
    image_runs(
        engine,
        "import signal, sys, time\n"
        f"signal.signal(15, lambda *_: (open({str(said)!r}, 'w').write('goodbye'), sys.exit(0)))\n"
        "report(accuracy=0.1)\ntime.sleep(600)",
    )
    run = FakeRun(task(tmp_path, image="trainer"))
    stopper = threading.Thread(target=lambda: run.reported.wait(10) and run.stop())
    stopper.start()
    with pytest.raises(TaskStopped):
        handle(run)
    stopper.join()
    assert said.read_text() == "goodbye"
    eventually(lambda: not list((engine / "containers").iterdir()), "the container is gone")


def test_a_container_that_lost_its_lease_leaves_the_next_attempts_alone(tmp_path, engine):
    image_runs(engine, "import time\nreport(accuracy=0.1)\ntime.sleep(600)")
    run = FakeRun(task(tmp_path, image="trainer"))
    following: list[subprocess.Popen] = []

    def take_over():
        run.reported.wait(10)
        following.append(left_over(engine, "nas-next", tmp_path / "nas/search/7"))
        run.stop(StopReason.LEASE_LOST)

    taking = threading.Thread(target=take_over)
    taking.start()
    with pytest.raises(TaskStopped):
        handle(run)
    taking.join()
    try:
        assert following[0].poll() is None
        assert [path.name for path in (engine / "containers").iterdir()] == ["nas-next"]
    finally:
        following[0].kill()
        following[0].wait()


def left_over(engine: Path, name: str, trial: Path) -> subprocess.Popen:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (engine / "containers").mkdir(exist_ok=True)
    label = f"nas.trial_dir={trial}"
    (engine / "containers" / name).write_text(json.dumps({"pid": process.pid, "label": label}))
    return process


def test_a_container_left_by_an_earlier_attempt_is_removed_and_no_other(tmp_path, engine):
    image_runs(engine, "report(accuracy=0.5)")
    mine = left_over(engine, "nas-old", tmp_path / "nas/search/7")
    others = left_over(engine, "nas-other", tmp_path / "nas/search/8")
    try:
        handle(FakeRun(task(tmp_path, image="trainer", attempt=2)))
        assert mine.wait(5) == -signal.SIGKILL
        assert others.poll() is None
        assert [path.name for path in (engine / "containers").iterdir()] == ["nas-other"]
    finally:
        for process in (mine, others):
            process.kill()
            process.wait()


RUNNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from program_runs import FakeRun, handle, task
handle(FakeRun(task(Path(sys.argv[1]), image="trainer")))
"""


def test_a_container_does_not_survive_a_killed_runner(tmp_path, engine):
    image_runs(engine, "import time\ntime.sleep(600)")
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), str(FAKE_ENGINE.parent)])
    containers = engine / "containers"
    try:
        eventually(lambda: containers.exists() and list(containers.glob("nas-*")), "the container starts")
        eventually(lambda: (file := next(containers.glob("nas-*"))).read_text() and file, "it is known")
        pid = json.loads(next(containers.glob("nas-*")).read_text())["pid"]
        runner.kill()
        runner.wait()
        eventually(lambda: not list(containers.glob("nas-*")), "the container is removed")
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "its program is gone")
    finally:
        runner.kill()
        runner.wait()
