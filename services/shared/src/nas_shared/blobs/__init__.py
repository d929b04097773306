"""Files that are whole or not there."""

from nas_shared.blobs.local import write_atomically

__all__ = ["write_atomically"]
