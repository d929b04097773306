"""Files of a trial: whole or not there, and a clear word when the disk is full."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from nas_shared.blobs import write_atomically
from nas_trainer.errors import DiskFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_WORDS = ("no space left on device", "disk quota exceeded", "file too large")


@contextmanager
def writing_to(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the many ways TensorFlow and Python say "disk full" into one.

    Raises:
        DiskFull: naming the directory.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if isinstance(error, DiskFull) or not _is_no_room(error):
            raise
        raise DiskFull(f"no room left in {os.fspath(directory)}; free some and run the job again") from error


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    with writing_to(path.parent):
        write_atomically(path, text.encode())


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that becomes `path` when the block ends well, and vanishes otherwise.

    An earlier `path` is replaced.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing_to(path.parent):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _is_no_room(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return any(words in str(error).lower() for words in _NO_ROOM_WORDS)
