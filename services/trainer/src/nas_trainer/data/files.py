"""Finds and opens the files a data flag names, on this machine or in remote storage.

Paths with a scheme (gs://…) go through TensorFlow's file systems, as the training itself does;
TensorFlow is imported for them alone.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO


class DataError(Exception):
    """The data a job names is missing or wrong, so that no trial of it can succeed.

    Repeating the work does not help; a person must mend the data or the flag. The message names
    flag, file, record (counted from 0) and field, what was found and what was expected.
    """


def match_files(pattern: str, *, flag: str) -> tuple[str, ...]:
    """The files a pattern stands for: sorted within each glob, none twice.

    Args:
      pattern: paths and globs, separated by commas. As in the Model Garden, only `*` and `?` make
        a glob; any other path is taken as it is.
      flag: where the pattern came from, for messages.
    Raises:
      DataError: if the pattern is empty, or a part of it is no file or matches none.
    """
    parts = [part.strip() for part in pattern.split(",") if part.strip()]
    if not parts:
        raise DataError(
            f"{flag}: found {pattern!r}, expected TFRecord files, for example DIR/train-*.tfrecord"
        )
    files: dict[str, None] = {}
    for part in parts:
        try:
            with os_errors(part):
                files.update(dict.fromkeys(_match(part)))
        except OSError as error:
            raise DataError(f"{flag}: {part}: {error.strerror or error}") from error
    return tuple(files)


def _match(part: str) -> list[str]:
    """The files one path or glob stands for.

    Raises:
      FileNotFoundError, IsADirectoryError: saying what was expected.
    """
    remote = _is_remote(part)
    if "*" in part or "?" in part:
        matches = sorted(_gfile().glob(part) if remote else glob.glob(part))
        if not matches:
            raise FileNotFoundError("matches no file, expected one or more TFRecord files")
        return matches
    if _gfile().isdir(part) if remote else os.path.isdir(part):
        raise IsADirectoryError(f"is a directory, expected files, for example {part}/*.tfrecord")
    if not (_gfile().exists(part) if remote else os.path.exists(part)):
        raise FileNotFoundError("does not exist, expected a TFRecord file")
    return [part]


def file_version(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: equal while the content is."""
    if _is_remote(path):
        remote = _gfile().stat(path)
        return remote.length, remote.mtime_nsec
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading bytes; use inside `os_errors`."""
    if _is_remote(path):
        remote: BinaryIO = _gfile().GFile(path, "rb")
        return remote
    return open(path, "rb")


@contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Lets remote storage fail with OSError, as local files do."""
    try:
        yield
    except Exception as error:
        if _is_remote(path):
            import tensorflow as tf

            if isinstance(error, tf.errors.OpError):
                raise OSError(error.message) from error
        raise


def _is_remote(path: str) -> bool:
    return "://" in path


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile
