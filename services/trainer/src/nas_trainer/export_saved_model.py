"""`export_saved_model`: a trial's checkpoint as a SavedModel or a TFLite model, checked by evaluating it."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nas_shared.cli import CommandError, UsageError, run_command

INPUT_TYPES = ("image_tensor", "image_bytes", "tflite")
TFLITE_NAME = "model.tflite"
# Resizing inside the model rounds differently from the input pipeline, so a prediction near a tie may turn.
TOLERANCE = 0.02


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 after a failure, 2 after bad usage."""
    flags = _parser().parse_args(argv)
    return run_command(lambda: _run(flags), debug=flags.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="export_saved_model", description=__doc__, allow_abbrev=False)
    parser.add_argument("--params_override", required=True, help="params.yaml of the trial")
    parser.add_argument("--checkpoint_path", required=True, help="checkpoint, or the directory of the trial")
    parser.add_argument("--export_dir", required=True, help="directory to make")
    parser.add_argument(
        "--input_type",
        choices=INPUT_TYPES,
        default="image_tensor",
        help="uint8 pixels; encoded JPEG or PNG; or a TFLite model, which takes normalised images of the "
        "trained size (%(default)s)",
    )
    parser.add_argument("--batch_size", type=int, default=1, help="images per inference; 0 leaves it open")
    parser.add_argument("--overwrite", type=_boolean, default=False, help="replace --export_dir (False)")
    parser.add_argument(
        "--evaluate", type=_boolean, default=True, help="evaluate what was exported, against the trial (True)"
    )
    parser.add_argument("--validation_data_path", default="", help="TFRecord globs [default: the trial's]")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _boolean(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected True or False")
    return values[text.lower()]


def _run(flags: argparse.Namespace) -> int:
    params_file, export_dir = Path(flags.params_override), Path(flags.export_dir)
    if not params_file.is_file():
        raise UsageError(f"--params_override: found no file {params_file}, expected params.yaml of a trial")
    if flags.batch_size < 0:
        raise UsageError(f"--batch_size: found {flags.batch_size}, expected 0 or more")
    if export_dir.exists() and not flags.overwrite:
        raise UsageError(f"--export_dir: {export_dir} exists, expected none; --overwrite=True replaces it")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    # TensorFlow takes seconds to import: after the flags are known to be good.
    from nas_trainer.errors import ConfigError, ModelError
    from nas_trainer.training.exporting import export

    try:
        export(
            params_file,
            flags.checkpoint_path,
            export_dir,
            input_type=flags.input_type,
            batch_size=flags.batch_size or None,
        )
    except (ConfigError, ModelError, OSError) as error:
        raise CommandError(str(error)) from error
    print(f"exported {export_dir}")
    if not flags.evaluate:
        return 0
    return _evaluate(flags, params_file, export_dir)


def _evaluate(flags: argparse.Namespace, params_file: Path, export_dir: Path) -> int:
    """Loads the model in a process that knows no checkpoint, and holds its metric against the trial's."""
    command = [
        *(sys.executable, "-m", "nas_trainer.evaluate_saved_model"),
        *(f"--params={params_file}", f"--export_dir={export_dir}", f"--input_type={flags.input_type}"),
        f"--data={flags.validation_data_path}",
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        last = (child.stderr.strip() or child.stdout.strip()).splitlines()[-1:] or ["no word"]
        raise CommandError(f"{export_dir} was exported, but cannot be evaluated: {last[0]}")
    found = json.loads(child.stdout.splitlines()[-1])
    metric, value = found["metric"], found["value"]
    print(f"{metric} of what was exported: {value:.4f} on {found['images']} images")
    expected = _metric_of_trial(params_file.parent, metric)
    if expected is None:
        print(f"the trial's own {metric} is not known: no model_analysis.json beside {params_file}")
        return 0
    print(f"{metric} of the trial:          {expected:.4f}")
    if abs(value - expected) > TOLERANCE:
        raise CommandError(
            f"{export_dir}: {metric} is {value:.4f}, expected that of the trial, {expected:.4f}, "
            f"within {TOLERANCE}"
        )
    return 0


def _metric_of_trial(trial_dir: Path, metric: str) -> float | None:
    try:
        analysis = json.loads((trial_dir / "model_analysis.json").read_text("utf-8"))
        return float(analysis[metric])
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
