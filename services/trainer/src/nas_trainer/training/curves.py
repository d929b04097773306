"""The curves of a trial (TensorBoard events), unbroken over the attempts at it."""

from collections.abc import Iterator
from pathlib import Path

from tensorboard.compat.proto import event_pb2

from nas_trainer.data.tfrecord import RecordError, read_records, write_record
from nas_trainer.training.files import new_directory

# Where the library writes what it sees in training and in evaluation.
FOLDERS = ("train", "validation")
_PATTERN = "events.out.tfevents.*"


def carry_over(earlier_dir: Path, attempt_dir: Path, *, last_step: int) -> None:
    """Copies the events of an earlier attempt up to the step that the new one goes on from.

    What the earlier one wrote after its last checkpoint will be written again: it is left behind, so that
    no step is there twice.

    Raises:
        DiskFull: naming the directory.
    """
    for folder in FOLDERS:
        files = sorted((earlier_dir / folder).glob(_PATTERN))
        target = attempt_dir / folder
        if not files or target.exists():
            continue
        with new_directory(target) as directory, (directory / files[0].name).open("wb") as output:
            for path in files:
                for record in _whole_records(path):
                    if event_pb2.Event.FromString(record).step <= last_step:
                        write_record(output, record)


def _whole_records(path: Path) -> Iterator[bytes]:
    """The events of a file up to where its writer was killed."""
    with path.open("rb") as file:
        try:
            yield from read_records(file)
        except RecordError:
            return
