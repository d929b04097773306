"""The embedded stack: orchestrator, trainers and latency calculator as child processes on loopback."""

from nas_client.embedded.directory import Directory
from nas_client.embedded.programs import Workers, workers_for
from nas_client.embedded.stack import Stack

__all__ = ["Directory", "Stack", "Workers", "workers_for"]
