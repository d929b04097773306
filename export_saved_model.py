#!/usr/bin/env python3
"""`python3 export_saved_model.py --params_override=…/params.yaml --checkpoint_path=… --export_dir=…`."""

import os
import sys
from pathlib import Path

try:
    from nas_trainer.export_saved_model import main
except ModuleNotFoundError as error:
    # Typed with the system's Python: go on in the environment that `make setup` made beside this file.
    own_python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if not own_python.exists() or Path(sys.prefix) == own_python.parents[1]:
        sys.exit(f"error: this Python ({sys.executable}) lacks {error.name}; run `make setup` first")
    os.execv(own_python, [str(own_python), *sys.argv])

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
