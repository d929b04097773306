"""Commands from `main` to the exit code, against an orchestrator at --endpoint."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_search_service import FakeSearchService
from nas.v1 import resources_pb2
from rich.console import Console

from nas_client import display, list_trials, search
from nas_client.client import SearchClient
from nas_client.main import main

_Job = resources_pb2.SearchJob
_Trial = resources_pb2.Trial


@pytest.fixture
def search_flags(endpoint: str, tmp_path: Path) -> list[str]:
    (tmp_path / "out" / "first_20261123_101112").mkdir(parents=True)
    return [
        "search", f"--endpoint={endpoint}", "--prebuilt_search_space=mnasnet", "--job_name=first",
        f"--root_output_dir={tmp_path / 'out'}", "--max_nas_trial=3", "--max_parallel_nas_trial=1",
    ]  # fmt: skip


def play(service: FakeSearchService, outcomes: dict[int, Callable[[str], None]]) -> threading.Thread:
    """Plays workers: as soon as trial n is requested, does what `outcomes` says to it."""

    def run() -> None:
        done: set[int] = set()
        deadline = time.monotonic() + 30
        while len(done) < len(outcomes) and time.monotonic() < deadline:
            for name, trials in list(service._trials.items()):
                for number in range(1, len(trials) + 1):
                    if number in outcomes and number not in done:
                        done.add(number)
                        outcomes[number](name)
            time.sleep(0.02)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def succeed(service: FakeSearchService, number: int, reward: float) -> Callable[[str], None]:
    metrics = {"top_1_accuracy": reward, "latency_p50_ms": 2.0, "parameters": 3e6, "multiply_adds": 3e8}
    return lambda name: service.settle(name, number, _Trial.SUCCEEDED, reward=reward, metrics=metrics)


def test_a_search_shows_its_trials_and_leaves_its_results(
    service: FakeSearchService, search_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail = lambda name: service.settle(name, 2, _Trial.FAILED, error_message="the loss is NaN")  # noqa: E731
    play(service, {1: succeed(service, 1, 0.9), 2: fail, 3: succeed(service, 3, 0.95)})
    assert main(search_flags) == 0
    out = capsys.readouterr().out
    assert (
        "searchJobs/1000 (first) started: mnasnet, REGULARIZED_EVOLUTION, seed 0, 3 trials, 1 at once" in out
    )
    assert "trial   1  succeeded   reward 0.9000" in out
    assert "trial   2  failed      the loss is NaN" in out
    assert "Best trials of first" in out
    assert "searchJobs/1000 SUCCEEDED: 2 succeeded, 0 infeasible, 1 failed, 0 cancelled" in out
    assert "list_trials --job_id=1000 --endpoint=" in out
    output_dir = tmp_path / "out" / "first_20261123_101112"
    assert sorted(path.name for path in output_dir.iterdir()) == ["reward_over_trials.png", "trials.csv"]


def test_a_search_goes_on_when_its_stream_breaks(
    service: FakeSearchService, search_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def break_first(name: str) -> None:
        service.break_streams()
        service.refuse(2)
        succeed(service, 2, 0.8)(name)

    play(service, {1: succeed(service, 1, 0.9), 2: break_first, 3: succeed(service, 3, 0.95)})
    assert main(search_flags) == 0
    out = capsys.readouterr().out
    for number in (1, 2, 3):
        assert out.count(f"trial   {number}  succeeded") == 1


def test_a_failed_search_says_why_and_exits_with_1(
    service: FakeSearchService, search_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    play(service, {1: lambda name: service.fail(name, "training_data_path: no file matches d/*")})
    assert main(search_flags) == 1
    captured = capsys.readouterr()
    assert "error: searchJobs/1000 failed: training_data_path: no file matches d/*" in captured.err
    assert "search_resume" not in captured.out
    assert "Traceback" not in captured.err


def test_ctrl_c_cancels_the_job_and_exits_with_130(
    service: FakeSearchService, search_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> None:
        service.activate(name, 1)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        while service._jobs[name].state != _Job.CANCELLING:
            time.sleep(0.01)
        service.settle(name, 1, _Trial.CANCELLED)

    play(service, {1: interrupt})
    assert main(search_flags) == 130
    out = capsys.readouterr().out
    assert "cancelling searchJobs/1000" in out
    assert "searchJobs/1000 CANCELLED" in out
    assert "search_resume --previous_nas_job_id=1000" in out
    assert service.calls.count("CancelSearchJob") == 1


def test_a_second_ctrl_c_stops_at_once(service: FakeSearchService, search_flags: list[str]) -> None:
    def interrupt_twice(name: str) -> None:
        service.activate(name, 1)
        for _ in range(2):
            time.sleep(0.4)
            os.kill(os.getpid(), signal.SIGINT)

    play(service, {1: interrupt_twice})
    started = time.monotonic()
    assert main(search_flags) == 130
    assert time.monotonic() - started < 10


def test_resume_goes_on_with_the_last_search_of_that_name(
    service: FakeSearchService,
    search_flags: list[str],
    client: SearchClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    play(service, {1: lambda name: client.cancel(name) and None})
    assert main(search_flags) == 1
    play(service, {2: succeed(service, 2, 0.9), 3: succeed(service, 3, 0.8), 4: succeed(service, 4, 0.7)})
    assert main([*search_flags, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "searchJobs/1000 (first) goes on" in out
    assert out.count("trial   1  cancelled") == 1
    assert len(list(client.jobs())) == 1


def test_resume_without_an_earlier_search_is_an_error(
    search_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*search_flags, "--resume=True"]) == 1
    assert "--resume: found no search named first" in capsys.readouterr().err


def test_search_resume_raises_the_limits(
    service: FakeSearchService, search_flags: list[str], endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    play(service, {number: succeed(service, number, 0.9) for number in (1, 2, 3)})
    assert main(search_flags) == 0
    resume = ["search_resume", f"--endpoint={endpoint}", "--previous_nas_job_id=1000"]
    assert main(resume) == 2
    assert "error: --max_nas_trial: found 3" in capsys.readouterr().err
    play(service, {4: succeed(service, 4, 0.95)})
    assert main([*resume, "--max_nas_trial=4"]) == 0
    assert "searchJobs/1000 SUCCEEDED: 4 succeeded" in capsys.readouterr().out


def test_list_trials_prints_and_writes_them_best_first(
    service: FakeSearchService,
    search_flags: list[str],
    endpoint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    play(service, {number: succeed(service, number, 0.5 + number / 10) for number in (1, 2, 3)})
    main(search_flags)
    capsys.readouterr()
    flags = ["list_trials", f"--endpoint={endpoint}", "--job_id=1000"]
    assert main([*flags, "--max_trials=2", f"--trials_output_file={tmp_path / 'trials.json'}"]) == 0
    out = capsys.readouterr().out
    assert "2 of 3 trials of first (searchJobs/1000, SUCCEEDED), best first" in out
    content = json.loads((tmp_path / "trials.json").read_text())
    assert [trial["trial"] for trial in content["trials"]] == [3, 2]
    assert main([*flags, "--max_trials=0"]) == 0
    assert "3 of 3 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["search_proxy_task"], 2, "search_proxy_task: this command is not in this version yet"),
        (["build"], 2, "--trainer_docker_id: found nothing"),
        (
            ["build", "--trainer_docker_id=a", "--trainer_docker_file=x/y"],
            2,
            "found no file x/y, expected a Docker",
        ),
        (["search_in_local", "--x=1"], 2, "search_in_local: unknown flag --x"),
        (["search_in_local", "--prebuilt_search_space=mnasnet"], 2, "--local_output_dir: found nothing"),
        (["train", "--search_job_id=x"], 2, "--search_job_id: found 'x', expected the numeric id"),
        (["train", "--search_job_id=5"], 1, "searchJobs/5: found no such search"),
        (["run_latency_calculator_local", "--search_job_id=5"], 1, "searchJobs/5: found no such search"),
        (
            ["run_latency_calculator_local", "--search_job_id=5", "--latency_worker_id=1"],
            2,
            "--latency_worker_id: found 1, expected less than --num_latency_workers=1",
        ),
        (["serach"], 2, "found unknown command 'serach'; did you mean search?"),
        (["frobnicate"], 2, "expected one of build, search_in_local, search, search_resume"),
        (["search", "--max_nas_trial=0"], 2, "--max_nas_trial: found '0'"),
        (["search", "--train_frequency=3"], 2, "--train_frequency: found without --train_docker_flags"),
        (["list_trials"], 2, "--job_id: found '', expected the numeric id"),
        (["list_trials", "--job_id=abc"], 2, "--job_id: found 'abc'"),
        (["list_trials", "--job_id=5"], 1, "searchJobs/5: found no such search"),
        (["search_resume", "--previous_nas_job_id=5"], 1, "searchJobs/5: found no such search"),
        (["list_trials", "--job_id=5", "--endpoint=nowhere"], 2, "--endpoint: found 'nowhere'"),
        (["list_trials", "--job_id=5", "--endpoint=h:99999"], 2, "--endpoint: found 'h:99999'"),
        (
            ["list_trials", "--job_id=5", "--endpoint=h:1", "--token_file=/no/such"],
            2,
            "--token_file=/no/such",
        ),
    ],
)
def test_bad_usage_is_one_line_and_the_right_exit_code(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_an_unknown_job_at_an_endpoint_is_named(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list_trials", f"--endpoint={endpoint}", "--job_id=5"]) == 1
    assert "--job_id=5: searchJobs/5 does not exist" in capsys.readouterr().err


def test_an_endpoint_where_nobody_answers_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nas_client.session._REMOTE_PATIENCE_SECONDS", 0.3)
    assert main(["list_trials", "--endpoint=127.0.0.1:1", "--job_id=5"]) == 1
    assert "no orchestrator answers at 127.0.0.1:1" in capsys.readouterr().err


def test_a_search_space_the_orchestrator_refuses_is_bad_usage(
    search_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("=mnasnet", "=mnasnot") for word in search_flags]) == 2
    assert "--prebuilt_search_space: found 'mnasnot'" in capsys.readouterr().err


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for name in ("search", "search_resume", "list_trials", "prepare_data", "build", "train"):
        assert name in out


def test_debug_shows_the_traceback_and_nothing_else_does() -> None:
    with pytest.raises(Exception, match="unknown flag"):
        main(["search", "--debug", "--nonsense=1"])
    assert main(["search", "--debug=False", "--nonsense=1"]) == 2


def test_prepare_data_hands_its_flags_and_exit_code_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    fake.chmod(0o755)
    monkeypatch.setenv("NAS_TRAINER_PYTHON", str(fake))
    assert main(["prepare_data", "--source=digits", "--help"]) == 3
    assert capfd.readouterr().out == "-m nas_trainer.prepare_data --source=digits --help\n"


def test_a_terminal_gets_a_bar_and_the_running_trials(
    service: FakeSearchService, search_flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, highlight=False, _environ={})
    monkeypatch.setattr(search, "make_console", lambda: console)

    def run_a_while(name: str) -> None:
        service.activate(name, 1)
        service.report(name, 1, step=120, loss=0.4125)
        time.sleep(1.0)
        succeed(service, 1, 0.9)(name)

    play(service, {1: run_a_while, 2: succeed(service, 2, 0.8), 3: succeed(service, 3, 0.7)})
    assert main(search_flags) == 0
    text = screen.getvalue()
    for part in (
        "0/3 trials",
        "✔ 0 done",
        "▶ 1 running",
        "training",
        "step 120",
        "loss 0.4125",
        "★ best so far",
    ):
        assert part in text


def test_the_plain_console_is_wide_enough_for_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert display.make_console().width == 160
    assert not display.make_console().is_terminal
    assert list_trials.make_console is display.make_console


def test_the_client_never_imports_tensorflow() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.modules['tensorflow'] = None\n"
        "import nas_client\n"
        "for module in pkgutil.walk_packages(nas_client.__path__, 'nas_client.'):\n"
        "    importlib.import_module(module.name)\n"
        "found = {name.partition('.')[0] for name, module in sys.modules.items() if module is not None}\n"
        "found &= {'tensorflow', 'tf_keras', 'official', 'nas_trainer', 'nas_latency', 'nas_orchestrator'}\n"
        "sys.exit(f'found {found}' if found else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
