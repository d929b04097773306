"""Claim, renew, run, settle: the loop that every worker runs."""

from nas_shared.work.run import Outcome, StopReason, TaskFailed, TaskRun, TaskStopped
from nas_shared.work.worker import Handler, Worker

__all__ = ["Handler", "Outcome", "StopReason", "TaskFailed", "TaskRun", "TaskStopped", "Worker"]
