"""`python -m nas_trainer.tensorboard --logdir=JOB_DIR`: TensorBoard over a job, with rewards.

The trainers leave curves of loss, learning rate and metrics; what a trial was worth is known later, and to
the orchestrator alone, which writes it to `model_analysis.json`. Before TensorBoard starts, each such file
becomes scalars beside the trial's curves, at the trial's number: the reward over the trials of a search.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2

from nas_shared.blobs import write_atomically
from nas_shared.cli import CommandError, run_command
from nas_trainer.data.tfrecord import write_record

# Beside `train` and `validation` of the same trial.
FOLDER = "result"
_FILE = "events.out.tfevents.0.result.v2"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until Ctrl-C; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nas_trainer.tensorboard",
        description="TensorBoard over the trials of a job; further flags are TensorBoard's own.",
        allow_abbrev=False,
    )
    parser.add_argument("--logdir", required=True, help="directory of a job, or one with several below it")
    flags, more = parser.parse_known_args(argv)
    return run_command(lambda: _run(Path(flags.logdir).expanduser(), more), debug=False)


def _run(logdir: Path, more: Sequence[str]) -> int:
    if not logdir.is_dir():
        raise CommandError(f"--logdir: found no directory {logdir}; expected that of a job")
    written = write_results(logdir)
    print(f"{len(written)} trials with a reward, {sum(written.values())} of them new")
    from tensorboard import default, program

    board = program.TensorBoard(default.get_plugins())
    board.configure(argv=["tensorboard", f"--logdir={logdir}", *more])
    code: int = board.main()
    return code


def write_results(logdir: Path) -> dict[Path, bool]:
    """Writes the scalars of every trial below `logdir` that has ended well.

    Returns:
        Directories of those trials, and whether their scalars were missing or old.
    Raises:
        CommandError: a file cannot be read or written.
    """
    found = {}
    for path in sorted(logdir.glob("**/nas/*/*/model_analysis.json")):
        trial_dir = path.parent
        events = trial_dir / FOLDER / _FILE
        try:
            is_old = not events.exists() or events.stat().st_mtime < path.stat().st_mtime
            if is_old:
                events.parent.mkdir(exist_ok=True)
                write_atomically(events, _events(int(trial_dir.name), json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError) as error:
            raise CommandError(f"{path}: its scalars cannot be written: {error}") from error
        found[trial_dir] = is_old
    return found


def _events(trial_number: int, analysis: dict[str, object]) -> bytes:
    """An event file with every number of `model_analysis.json` at step `trial_number`."""
    buffer = io.BytesIO()
    now = time.time()
    write_record(buffer, event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    values = [
        summary_pb2.Summary.Value(tag=f"{FOLDER}/{name}", simple_value=float(value))
        for name, value in analysis.items()
        if isinstance(value, int | float)
    ]
    event = event_pb2.Event(wall_time=now, step=trial_number, summary=summary_pb2.Summary(value=values))
    write_record(buffer, event.SerializeToString())
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
