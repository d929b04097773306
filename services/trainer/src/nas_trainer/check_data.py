"""`check_data`: what is in a set of TFRecord files, what is wrong with it, and how it looks."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas_shared.cli import CommandError, UsageError, run_command
from nas_trainer.data.contact_sheet import draw
from nas_trainer.data.files import DataError
from nas_trainer.data.survey import MAX_DEFECTS, Survey, survey

_SHEET_IMAGES = 24


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 when a record is bad, 2 after bad usage."""
    flags = _parser().parse_args(argv)
    return run_command(lambda: _run(flags), debug=flags.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="check_data", description=__doc__, allow_abbrev=False)
    parser.add_argument("--data_path", required=True, help="TFRecord files and globs, separated by commas")
    parser.add_argument(
        "--model",
        choices=["classification", "retinanet"],
        default="classification",
        help="what the records are for (%(default)s)",
    )
    parser.add_argument(
        "--num_classes",
        type=int,
        help="classes the model has, for detection with the background [default: as dataset.json "
        "beside the files says, or whatever occurs]",
    )
    parser.add_argument("--contact_sheet", help=f"also draw {_SHEET_IMAGES} images into this PNG file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _run(flags: argparse.Namespace) -> int:
    if flags.num_classes is not None and flags.num_classes < 1:
        raise UsageError(f"--num_classes: found {flags.num_classes}, expected 1 or more")
    if flags.contact_sheet and not flags.contact_sheet.lower().endswith(".png"):
        raise UsageError(f"--contact_sheet: found {flags.contact_sheet}, expected a file that ends in .png")
    try:
        found = survey(
            flags.data_path,
            has_boxes=flags.model == "retinanet",
            num_classes=flags.num_classes,
            num_samples=_SHEET_IMAGES if flags.contact_sheet else 0,
        )
    except DataError as error:
        raise CommandError(str(error)) from error
    if flags.json:
        content = {name: value for name, value in asdict(found).items() if name != "samples"}
        print(json.dumps(content, indent=2))
    else:
        _print(Console(), found)
    if flags.contact_sheet:
        path = Path(flags.contact_sheet)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(found.samples, found.class_names))
        except OSError as error:
            raise CommandError(f"--contact_sheet={path}: cannot be written ({error.strerror})") from error
        print(f"wrote {path}", file=sys.stderr)
    return 1 if found.num_defects or not found.records else 0


def _print(console: Console, found: Survey) -> None:
    console.print(f"{found.records} records in {len(found.files)} files", style="bold", highlight=False)
    if found.records:
        (low, high), (narrow, wide) = found.heights, found.widths
        console.print(f"images {narrow}-{wide} wide and {low}-{high} high", highlight=False)
    if found.has_boxes:
        sizes = ", ".join(f"{count} {name}" for name, count in found.box_sizes.items())
        console.print(
            f"{found.boxes} boxes, {found.boxes / max(found.records, 1):.2f} per image; {sizes} "
            f"(COCO's: below 32², up to 96², above); {found.images_without_box} images without one",
            highlight=False,
        )
    table = Table("label", "class", "boxes" if found.has_boxes else "images", box=None)
    for label, count in sorted(found.labels.items()):
        table.add_row(str(label), found.class_names.get(label, ""), str(count))
    console.print(table)
    for defect in found.defects:
        console.print(defect, style="red", markup=False, highlight=False, soft_wrap=True)
    if found.num_defects > len(found.defects):
        console.print(f"… and {found.num_defects - MAX_DEFECTS} more bad records", style="red")
    if not found.num_defects:
        console.print("no bad record", style="green")


if __name__ == "__main__":
    sys.exit(main())
