"""What `docker` does, as far as a runner sees it: writes down every call and runs commands here.

Kept as files in the directory FAKE_ENGINE: `calls` (one JSON list a line), `images` (one a line),
`down` (the engine does not run), `containers/<name>` (process id, label).
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

home = Path(os.environ["FAKE_ENGINE"])
containers = home / "containers"
containers.mkdir(exist_ok=True)
action, *arguments = sys.argv[1:]
with (home / "calls").open("a") as file:
    file.write(json.dumps([action, *arguments]) + "\n")
if (home / "down").exists():
    sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the daemon running?")


def find(name: str) -> dict:
    return json.loads((containers / name).read_text())


def value(flag: str) -> str:
    return next((a.partition("=")[2] for a in arguments if a.startswith(f"{flag}=")), "")


def end(name: str, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(find(name)["pid"], signum)


def remove(name: str) -> None:
    end(name, signal.SIGKILL)
    (containers / name).unlink(missing_ok=True)


def run() -> int:
    flags = [a for a in arguments if a.startswith("--")]
    split = next(i for i, a in enumerate(arguments) if not a.startswith("--"))
    flags, image, rest = arguments[:split], arguments[split], arguments[split + 1 :]
    environment = dict(a.partition("=")[2].split("=", 1) for a in flags if a.startswith("--env="))
    entry_point = value("--entrypoint")
    command = [entry_point, *rest] if entry_point else [sys.executable, str(home / image), *rest]
    if entry_point.startswith("/no/workdir"):
        print("docker: Error response from daemon: OCI runtime create failed: no cwd", file=sys.stderr)
        return 127
    if entry_point and not os.path.exists(entry_point):
        print(f"[FATAL tini (7)] exec {entry_point} failed: No such file or directory", file=sys.stderr)
        return 127
    # As in the real one, the engine and not its command line is the parent: it survives a SIGKILL.
    process = subprocess.Popen(
        command, env={"PATH": os.environ["PATH"], **environment}, start_new_session=True
    )
    name = value("--name")
    (containers / name).write_text(json.dumps({"pid": process.pid, "label": value("--label")}))
    signal.signal(signal.SIGTERM, lambda *_: end(name, signal.SIGTERM))
    code = process.wait()
    (containers / name).unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


if action == "run":
    sys.exit(run())
elif action == "ps":
    wanted = arguments[arguments.index("--filter") + 1].removeprefix("label=")
    for path in containers.iterdir():
        if find(path.name)["label"] == wanted:
            print(path.name)
elif action == "rm":
    for name in arguments[1:]:
        remove(name)
elif action == "image":
    if arguments[-1] not in (home / "images").read_text().split():
        sys.exit(f"Error: No such image: {arguments[-1]}")
elif action == "pull":
    if arguments[-1] == "large":
        time.sleep(600)
    sys.exit(f"Error response from daemon: pull access denied for {arguments[-1]}")
elif action == "stop":
    _, grace, name = arguments
    if not (containers / name).exists():
        sys.exit(f"Error response from daemon: No such container: {name}")
    end(name, signal.SIGTERM)
    deadline = time.monotonic() + float(grace)
    while (containers / name).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if (containers / name).exists():
        end(name, signal.SIGKILL)
