"""`python -m nas_trainer.prepare_data`: makes the TFRecord files a search trains on.

Needs no TensorFlow and starts in a second. Progress and errors go to standard error, what was
written and the flags to use it to standard output.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas_shared.cli import CommandError, UsageError, run_command
from nas_trainer.data.annotations import Annotations, read_coco, read_parsed, read_voc
from nas_trainer.data.files import DataError
from nas_trainer.data.scenes import NUM_SCENES, SCENE_SIZE, DigitScenes
from nas_trainer.data.sources import DIGITS_SIZE, Digits, ImageFolder, ImageSource
from nas_trainer.data.tfds import read_tfds
from nas_trainer.data.writer import (
    TRAIN,
    VALIDATION,
    Dataset,
    Split,
    split_by_class,
    write_dataset,
)

_SECONDS_BETWEEN_LINES = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      argv: arguments without the program's name; None takes those of the process.
    Returns:
      Exit code: 0, 1 after a failure, 2 after bad usage, 130 after Ctrl-C.
    """
    flags = _parser().parse_args(argv)
    with _sigterm_interrupts():
        return run_command(lambda: _run(flags), debug=flags.debug)


def _run(flags: argparse.Namespace) -> int:
    _check_flags(flags)
    output_dir = Path(flags.output_dir)
    try:
        source = _open_source(flags)
        split = _split(source, flags)
        with _progress(split) as on_image:
            dataset = write_dataset(
                source,
                split,
                output_dir,
                num_shards=flags.num_shards,
                overwrite=flags.overwrite,
                on_image=on_image,
            )
    except DataError as error:
        raise CommandError(str(error)) from error
    except OSError as error:  # Of the output: a source raises DataError.
        reason = error.strerror or str(error)
        raise CommandError(
            f"--output_dir: {output_dir} cannot be written ({reason}), expected a directory with "
            f"room for the data; nothing was written"
        ) from error
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise
    _print_result(source, dataset)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prepare_data",
        description="Makes TFRecord files for image classification or detection, split into training and "
        "validation data, from scikit-learn's digits, scenes made of them, or a folder of images per class.",
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--dataset", choices=["digits", "digit_scenes"], help="a data set that is built in")
    source.add_argument("--coco_annotations", help="COCO's JSON of instances; --image_dir holds its images")
    source.add_argument("--voc_dir", help="folder of Pascal VOC, with Annotations and JPEGImages")
    source.add_argument(
        "--parser", help="your own module:function, which gives nas_trainer.data.annotations.Record objects"
    )
    source.add_argument(
        "--tfds_name",
        help="classification set of TensorFlow Datasets that lies in --tfds_data_dir, e.g. mnist",
    )
    parser.add_argument(
        "--image_dir", help="folder that holds one folder of images per class, or the images of COCO"
    )
    parser.add_argument("--tfds_data_dir", help="where TFDS keeps its sets [default: its own place]")
    parser.add_argument(
        "--skip_missing_images",
        type=_boolean,
        default=False,
        help="COCO: leave out images that are not there (False)",
    )
    parser.add_argument("--output_dir", required=True, help="where the files go; made if missing")
    parser.add_argument(
        "--validation_fraction",
        type=float,
        default=0.2,
        help="part of every class that is kept for validation, between 0 and 1 (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (%(default)s)")
    parser.add_argument(
        "--image_size",
        type=int,
        help="shorter side of the images in pixels, their shape is kept "
        f"(digits: {DIGITS_SIZE}; digit_scenes: {SCENE_SIZE}; folders: as they are)",
    )
    parser.add_argument(
        "--num_images", type=int, default=NUM_SCENES, help="digit_scenes: scenes to draw (%(default)s)"
    )
    parser.add_argument("--num_shards", type=int, default=2, help="files per part of the data (%(default)s)")
    parser.add_argument(
        "--overwrite",
        nargs="?",
        type=_boolean,
        const=True,
        default=False,
        metavar="True|False",
        help="replace a data set that is already there (False)",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _boolean(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected True or False")
    return values[text.lower()]


def _check_flags(flags: argparse.Namespace) -> None:
    """Raises UsageError where a value cannot be right, whatever the data."""
    others = ("dataset", "coco_annotations", "voc_dir", "parser", "tfds_name")
    given = [name for name in others if getattr(flags, name)]
    if not given and not flags.image_dir:
        names = ", ".join(f"--{name}" for name in (*others, "image_dir"))
        raise UsageError(f"found no source of images, expected one of {names}")
    if flags.image_dir and given and given != ["coco_annotations"]:
        raise UsageError(f"--image_dir and --{given[0]}: found both, expected one")
    if flags.coco_annotations and not flags.image_dir:
        raise UsageError(
            "--image_dir: found nothing, expected the folder of the images of --coco_annotations"
        )
    if not 0 < flags.validation_fraction < 1:
        raise UsageError(
            f"--validation_fraction: found {flags.validation_fraction:g}, expected a number "
            f"between 0 and 1, both excluded"
        )
    for name in ("num_shards", "image_size", "num_images"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: found {value}, expected 1 or more")
    if not flags.output_dir:
        raise UsageError("--output_dir: found '', expected a directory")


def _open_source(flags: argparse.Namespace) -> ImageSource:
    if flags.dataset == "digits":
        return Digits(flags.image_size or DIGITS_SIZE)
    if flags.dataset == "digit_scenes":
        return DigitScenes(
            max(flags.num_images, 2),
            flags.image_size or SCENE_SIZE,
            validation_fraction=flags.validation_fraction,
            seed=flags.seed,
        )
    if flags.coco_annotations:
        return read_coco(
            Path(flags.coco_annotations),
            Path(flags.image_dir),
            skip_missing_images=flags.skip_missing_images,
        )
    if flags.voc_dir:
        return read_voc(Path(flags.voc_dir))
    if flags.parser:
        return read_parsed(flags.parser)
    if flags.tfds_name:
        return read_tfds(flags.tfds_name, flags.tfds_data_dir)
    folder = ImageFolder.open(Path(flags.image_dir), size=flags.image_size)
    if folder.skipped:
        print(
            f"skipped {len(folder.skipped)} file(s) that are no images by their name, for example "
            f"{folder.skipped[0]}",
            file=sys.stderr,
        )
    return folder


def _split(source: ImageSource, flags: argparse.Namespace) -> Split:
    if isinstance(source, DigitScenes):
        split = Split(source.train, source.validation)
    elif isinstance(source, Annotations):
        split = Split(*source.split(flags.validation_fraction, flags.seed))
    else:
        split = _split_by_class(source, flags)
    for part, indices in ((TRAIN, split.train), (VALIDATION, split.validation)):
        if len(indices) < flags.num_shards:
            raise UsageError(
                f"--num_shards: found {flags.num_shards}, expected at most {len(indices)}, the "
                f"number of {part} images"
            )
    return split


def _split_by_class(source: ImageSource, flags: argparse.Namespace) -> Split:
    images = Counter(source.labels)
    for label, name in enumerate(source.class_names):
        if images[label] < 2:
            raise DataError(
                f"{source.description}: class {name!r} has {images[label]} image, expected 2 or "
                f"more: one to train on and one to validate with"
            )
    return split_by_class(source.labels, validation_fraction=flags.validation_fraction, seed=flags.seed)


def _print_result(source: ImageSource, dataset: Dataset) -> None:
    print(
        f"wrote {dataset.train_images} training and {dataset.validation_images} validation images "
        f"of {len(source.class_names)} classes ({dataset.bytes / 1e6:.1f} MB) to "
        f"{dataset.directory}"
    )
    for reason, count in getattr(source, "left_out", {}).items():
        print(f"left out {count} {reason}", file=sys.stderr)
    print("use them with")
    # Quoted: some shells refuse a pattern that matches nothing, as this whole word does.
    for flag, pattern in (
        ("training_data_path", dataset.train_pattern),
        ("validation_data_path", dataset.validation_pattern),
    ):
        print(f"  {shlex.quote(f'{flag}={pattern}')}")


@contextmanager
def _progress(split: Split) -> Iterator[Callable[[str], None]]:
    """Shows how many images are written: a bar on a terminal, else a line every two seconds."""
    total = len(split.train) + len(split.validation)
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("writing {task.fields[part]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=total, part=TRAIN)
            yield lambda part: bar.update(task, advance=1, part=part)
        return

    done = 0
    last_line = time.monotonic()

    def print_lines(part: str) -> None:
        nonlocal done, last_line
        done += 1
        now = time.monotonic()
        if done == total or now - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = now
            print(f"writing {part}: {done} of {total} images", file=sys.stderr)

    yield print_lines


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Lets SIGTERM clean up as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # Not in the main thread, which alone may set handlers.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


if __name__ == "__main__":
    sys.exit(main())
