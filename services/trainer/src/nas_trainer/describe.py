"""`python -m nas_trainer.describe`: how large an architecture is, without training it.

Prints JSON: `parameters`, `trainable_parameters`, `multiply_adds`, `parameters_without_batch_norm`.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas_shared import search_spaces
from nas_shared.cli import CommandError, UsageError, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 after a failure, 2 after bad usage."""
    flags = _parser().parse_args(argv)
    return run_command(lambda: _run(flags), debug=flags.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas_trainer.describe", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--search_space", required=True, help=f"{', '.join(search_spaces.NAMES)} or module:attribute"
    )
    parser.add_argument(
        "--nas_params_str",
        required=True,
        help="JSON of the decisions, the path of a .json file with it, or a reference of the space by name "
        "(mobilenet_v2 in mnasnet, mnasnet_a1 in mnasnet_a1, spinenet49 in spinenet)",
    )
    parser.add_argument(
        "--params_override",
        default="",
        help="YAML file or a.b=c,d.e=f; without it 224x224, 1000 classes, "
        "or, of a detector, 640x640, 91 classes",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _run(flags: argparse.Namespace) -> int:
    # Before the seconds that TensorFlow takes.
    try:
        space = search_spaces.load(flags.search_space)
        nas_params_str = _read(flags.nas_params_str, space.references)
        space.choices(nas_params_str)
    except search_spaces.SearchSpaceError as error:
        raise UsageError(f"--search_space: {error}") from error
    except search_spaces.NasParamsError as error:
        raise UsageError(f"--nas_params_str: {error}") from error
    if not flags.debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from nas_trainer import devices

    devices.set_up(num_gpus=0, threads=0)
    print(json.dumps(describe(flags.search_space, nas_params_str, flags.params_override), indent=2))
    return 0


def describe(search_space: str, nas_params_str: str, params_override: str = "") -> dict[str, int]:
    """Parameters and multiply-adds of an architecture.

    Raises:
        CommandError: the configuration is wrong or the network cannot be built with it.
    """
    from nas_trainer.devices import Devices
    from nas_trainer.errors import ConfigError, ModelError
    from nas_trainer.flags import TrainerFlags
    from nas_trainer.models import analysis
    from nas_trainer.training import experiment
    from nas_trainer.training.trial import build_model

    try:
        params = experiment.configure(
            TrainerFlags(params_override=params_override, model=experiment.model_of(search_space)),
            search_space=search_space,
            nas_params_str=nas_params_str,
            devices=Devices(),
        )
        model = build_model(params)
    except (ConfigError, ModelError) as error:
        raise CommandError(str(error)) from error
    graph = analysis.inference_graph(model, list(params.task.model.input_size))
    size = dataclasses.asdict(analysis.model_size(model, graph))
    return {**size, "parameters_without_batch_norm": analysis.parameters_without_batch_norm(model)}


def _read(text: str, references: Mapping[str, str]) -> str:
    if text in references:
        return references[text]
    if not text.endswith(".json"):
        return text
    try:
        return Path(text).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"--nas_params_str: {text}: {error.strerror}; expected a readable file") from error


if __name__ == "__main__":
    sys.exit(main())
