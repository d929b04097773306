"""`build` with an engine that writes down what it is asked for."""

from pathlib import Path

import pytest

from nas_client.main import main

DOCKER = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  info) exit {info} ;;
  build) exit {build} ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a `docker` on the path, and nothing else that is an engine; returns what it was asked for."""

    def make(info: int = 0, build: int = 0) -> Path:
        log = tmp_path / "docker.log"
        program = tmp_path / "docker"
        program.write_text(DOCKER.format(log=log, info=info, build=build))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return log

    return make


BUILD = ["build", "--trainer_docker_id=me/trainer", "--latency_calculator_docker_id=me/latency"]


def test_both_images_are_built_from_the_shipped_files_under_the_guides_names(docker, capfd) -> None:
    log = docker()
    code = main(
        [
            *BUILD,
            "--trainer_docker_file=tf_vision/nas_multi_trial.Dockerfile",
            "--latency_calculator_docker_file=tf_vision/latency_computation_using_saved_model.Dockerfile",
        ]
    )
    assert code == 0
    info, trainer, latency = log.read_text().splitlines()
    assert info == "info"
    for line, image, service in (
        (trainer, "me/trainer", "services/trainer"),
        (latency, "me/latency", "services/latency_calculator"),
    ):
        file = line.split("--file=")[1].split()[0]
        assert file.endswith(f"{service}/Dockerfile")
        assert Path(file).is_file()
        assert f"--tag={image}" in line
        assert "--no-cache" not in line
    assert "--tag=me/trainer" in capfd.readouterr().out


def test_a_build_may_leave_the_cache_and_push(docker) -> None:
    log = docker()
    assert main([*BUILD[:2], "--use_cache=False", "--push=True"]) == 0
    _, build, push = log.read_text().splitlines()
    assert "--no-cache" in build
    assert push == "push me/trainer"


def test_an_engine_that_does_not_run_is_named(docker, capfd) -> None:
    log = docker(info=1)
    assert main([*BUILD, "--engine=docker"]) == 1
    assert "no container engine runs: found docker" in capfd.readouterr().err
    assert log.read_text() == "info\n"


def test_a_machine_without_an_engine_is_told_so(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(BUILD) == 1
    assert "no container engine is installed: found no docker or podman" in capfd.readouterr().err


def test_a_build_that_fails_ends_the_command(docker, capfd) -> None:
    log = docker(build=3)
    assert main(BUILD) == 1
    assert "build ended with exit code 3" in capfd.readouterr().err
    assert len(log.read_text().splitlines()) == 2
