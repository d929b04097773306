"""The files of a trial that only the orchestrator can write: what became of it, and which attempt won."""

import asyncio
import json
import logging
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nas_orchestrator.adapters.sql.store import SqlTransaction
from nas_orchestrator.adapters.transactor import Transactor
from nas_orchestrator.domain.events import Event, TrialChanged
from nas_orchestrator.domain.job import Job
from nas_orchestrator.domain.trial import OPEN_STATES, Trial, TrialState
from nas_shared.blobs import write_atomically

log = logging.getLogger(__name__)

# Metrics that stand in `model_analysis.json` under the names users know.
_ANALYSIS = {
    "latency_in_milliseconds": "latency_p50_ms",
    "model_memory": "memory_bytes",
    "multiply_adds": "multiply_adds",
    "parameters": "parameters",
    "trainable_parameters": "trainable_parameters",
}
# Attempts write here what nobody needs once the trial has settled.
_SCRATCH = "untrained"


class Scribe:
    """Publishes the files of trials that have ended; a listener of the outbox.

    The winning attempt's files move up into the trial's directory, then `model_analysis.json` is
    written, and `job_status.json` last: who sees that file sees a whole trial. Every step can be
    repeated, so a crash between two of them is mended by the outbox, which tells the batch again.

    A disk that is full or gone costs the files of a trial, not the search: the error is logged, and
    the trial's metrics stay in the store.
    """

    def __init__(self, transactor: Transactor):
        self._transactor = transactor

    async def __call__(self, batch: Sequence[Event]) -> None:
        """Publishes every trial that ended in `batch`."""
        ended = [
            (event.job_id, event.trial_number)
            for event in batch
            if isinstance(event, TrialChanged) and event.state not in OPEN_STATES
        ]
        if ended:
            for job, trial in await self._transactor.read(partial(_with_files, keys=ended)):
                try:
                    await asyncio.to_thread(publish, job, trial)
                except (OSError, ValueError) as error:
                    log.error("%s: cannot publish its files: %s", trial.name, error)


def _with_files(tx: SqlTransaction, keys: Sequence[tuple[int, int]]) -> list[tuple[Job, Trial]]:
    """Those trials of `keys` that leave files; some may have been deleted since."""
    jobs = {job_id: tx.find_job(job_id) for job_id, _ in keys}
    return [
        (job, tx.trial(job_id, number))
        for job_id, number in keys
        if (job := jobs[job_id]) is not None and job.output_dir
    ]


def publish(job: Job, trial: Trial) -> None:
    """Publishes the files of a trial that has ended.

    Raises:
      OSError: if a file cannot be moved or written; what was done so far may stay, but no
        `job_status.json`.
    """
    trial_dir = Path(trial.trial_dir)
    trial_dir.mkdir(parents=True, exist_ok=True)
    if trial.state is TrialState.SUCCEEDED:
        attempt_dir = Path(trial.attempt_dir(trial.winning_attempt))
        if attempt_dir.is_dir():
            _move_up(attempt_dir, trial_dir)
        write_atomically(trial_dir / "model_analysis.json", _json(analysis(job, trial)))
    else:
        write_atomically(trial_dir / "nas_params_str.json", trial.nas_params_str.encode())
    write_atomically(trial_dir / "job_status.json", _json(job_status(trial)))


def analysis(job: Job, trial: Trial) -> dict[str, float | str]:
    """What `model_analysis.json` says: accuracy without latency, the costs, and the reward made of both."""
    metric = job.spec.reward.metric
    content: dict[str, float | str] = {metric: trial.metrics[metric]}
    for name, source in _ANALYSIS.items():
        if source in trial.metrics:
            content[name] = trial.metrics[source]
    if "multiply_adds" in trial.metrics:
        content["multiply_adds_billion"] = trial.metrics["multiply_adds"] / 1e9
    if job.spec.measure is not None:
        content["device_type"] = job.spec.measure.device_type
    if trial.reward is not None:
        content["reward"] = trial.reward
    content.update({name: value for name, value in sorted(trial.metrics.items()) if name not in content})
    return content


def job_status(trial: Trial) -> dict[str, str]:
    """What `job_status.json` says; beside the contract's words, `infeasible` and `cancelled`."""
    match trial.state:
        case TrialState.SUCCEEDED:
            return {"job_status": "success"}
        case TrialState.FAILED:
            status = "failed_with_nan_error" if trial.failure_reason == "NAN_LOSS" else "failed"
            return {"job_status": status, "error_message": trial.error_message}
        case TrialState.INFEASIBLE:
            status = "failed_with_nan_error" if trial.failure_reason == "NAN_LOSS" else "infeasible"
            return {"job_status": status, "error_message": trial.infeasible_reason}
        case _:
            return {"job_status": "cancelled"}


def _move_up(attempt_dir: Path, trial_dir: Path) -> None:
    shutil.rmtree(attempt_dir / _SCRATCH, ignore_errors=True)
    for entry in attempt_dir.iterdir():
        target = trial_dir / entry.name
        if entry.is_dir() and target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    attempt_dir.rmdir()
    # What the winner went on from it has taken over; twice, it would be two curves in TensorBoard.
    for folder in (*attempt_dir.parent.glob("*/train"), *attempt_dir.parent.glob("*/validation")):
        shutil.rmtree(folder, ignore_errors=True)
    # Kept while an earlier attempt left something that may explain why it was lost.
    if not any(attempt_dir.parent.iterdir()):
        attempt_dir.parent.rmdir()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
