"""Generates the Python code of protos/nas/v1, or says where the committed code differs from it."""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import google.api
from grpc_tools import protoc

PROTOS = Path(__file__).parent


def generate(output: Path) -> None:
    """Writes modules, type stubs and gRPC stubs below `output`.

    Raises:
      SystemExit: if a proto does not compile.
    """
    output.mkdir(parents=True, exist_ok=True)
    google_apis = Path(next(iter(google.api.__path__))).parent.parent
    well_known = Path(protoc.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("nas/v1/*.proto"))
    flags = [f"--{kind}_out={output}" for kind in ("python", "pyi", "grpc_python")]
    includes = [f"-I{path}" for path in (PROTOS, google_apis, well_known)]
    if protoc.main(["protoc", *includes, *flags, *sources]) != 0:
        sys.exit("error: protoc failed, see above")
    for package in (output / "nas", output / "nas/v1"):
        (package / "__init__.py").touch()


def differences(generated: Path, committed: Path) -> list[str]:
    """Files that are not the same on both sides."""

    def names(root: Path) -> set[Path]:
        return {path.relative_to(root) for path in root.rglob("*.py*") if path.suffix != ".pyc"}

    both = names(generated) & names(committed)
    changed = {name for name in both if not filecmp.cmp(generated / name, committed / name, shallow=False)}
    return sorted(map(str, changed | (names(generated) ^ names(committed))))


def main() -> int:
    """Returns 1 when the committed code has drifted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="where the generated code lies")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    flags = parser.parse_args()
    if not flags.check:
        generate(flags.output)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        drifted = differences(Path(directory), flags.output)
    for name in drifted:
        print(
            f"error: {flags.output / name} is not what the protos generate; run `make protos`",
            file=sys.stderr,
        )
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
