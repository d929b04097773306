"""How the user called this program, so that hints can be typed as they stand."""

import sys
from pathlib import Path


def name() -> str:
    """`python3 vertex_nas_cli.py`, or the name of the installed command."""
    called = Path(sys.argv[0] or "vertex-nas-cli")
    return f"python3 {sys.argv[0]}" if called.suffix == ".py" else called.name


def next_command(arguments: str) -> str:
    """A command line to type next."""
    return f"{name()} {arguments}"
