"""The store on SQLAlchemy: a transaction of the use cases over one connection.

Statements are built once; a use case runs a handful of them by primary key or by an index that holds
open work only, so its cost does not grow with the number of trials.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam as bind

from nas_orchestrator.adapters.sql.cursor import Compiler, Cursor
from nas_orchestrator.adapters.sql.rows import (
    event_to_row,
    job_from_row,
    job_to_row,
    task_from_row,
    task_to_row,
    trial_from_row,
    trial_to_row,
)
from nas_orchestrator.adapters.sql.tables import jobs, outbox, tasks, trials
from nas_orchestrator.domain import names
from nas_orchestrator.domain.events import Event
from nas_orchestrator.domain.job import Job, JobState
from nas_orchestrator.domain.task import Task, TaskKind, TaskState
from nas_orchestrator.domain.trial import OPEN_STATES, Stage, Trial, TrialState
from nas_orchestrator.search.algorithm import SettledTrial
from nas_orchestrator.usecases.store import Conflict
from nas_shared.errors import NotFound


def _state_in(*states: str) -> sa.TextClause:
    # In the text, not in the parameters: partial indices are used, and the text is always the same.
    return sa.text("state IN (" + ", ".join(f"'{state}'" for state in states) + ")")


_JOB = sa.select(jobs).where(jobs.c.id == bind("id"))
_JOB_OF_REQUEST = sa.select(jobs).where(jobs.c.request_id == bind("request_id"))
_JOBS = sa.select(jobs).order_by(jobs.c.id.desc()).limit(bind("limit")).offset(bind("offset"))
_RUNNING_JOBS = sa.select(jobs).where(_state_in(JobState.RUNNING, JobState.CANCELLING))
_TRIAL = sa.select(trials).where(trials.c.job_id == bind("job_id"), trials.c.number == bind("number"))
_OPEN_TRIALS = sa.select(trials).where(
    trials.c.job_id == bind("job_id"),
    _state_in(*OPEN_STATES),
)
_TRIALS_OF_JOB = (
    sa.select(trials)
    .where(trials.c.job_id == bind("job_id"))
    .order_by(trials.c.number)
    .limit(bind("limit"))
    .offset(bind("offset"))
)
_TRIALS_BEST_FIRST = (
    sa.select(trials)
    .where(trials.c.job_id == bind("job_id"))
    .order_by(
        trials.c.state != TrialState.SUCCEEDED,
        trials.c.stage != Stage.SEARCH,
        trials.c.reward.desc(),
        trials.c.number,
    )
    .limit(bind("limit"))
    .offset(bind("offset"))
)
_TRAINED = sa.select(trials.c.source_trial, trials.c.nas_params_str).where(
    trials.c.job_id == bind("job_id"),
    sa.text(f"stage = '{Stage.TRAIN}'"),
    sa.text(f"state != '{TrialState.CANCELLED}'"),
)
_HISTORY = (
    sa.select(trials.c.number, trials.c.choices, trials.c.reward)
    .where(
        trials.c.job_id == bind("job_id"),
        trials.c.settled_order > bind("after"),
        sa.text("settled_order > 0"),
    )
    .order_by(trials.c.settled_order)
)
_TASK = sa.select(tasks).where(
    tasks.c.job_id == bind("job_id"),
    tasks.c.trial_number == bind("trial_number"),
    tasks.c.kind == bind("kind"),
)
_OPEN_TASKS = sa.select(tasks).where(
    tasks.c.job_id == bind("job_id"),
    tasks.c.trial_number == bind("trial_number"),
    _state_in(TaskState.QUEUED, TaskState.LEASED),
)
_NEXT_QUEUED = (
    sa.select(tasks)
    .where(
        sa.text("state = 'QUEUED'"), tasks.c.kind == bind("kind"), tasks.c.device_type == bind("device_type")
    )
    .order_by(tasks.c.id)
    .limit(1)
)
_LEASED_BY = sa.select(tasks).where(sa.text("state = 'LEASED'"), tasks.c.lease_worker == bind("worker"))
_EXPIRED = sa.select(tasks).where(sa.text("state = 'LEASED'"), tasks.c.lease_expiry <= bind("now")).limit(100)
_NEXT_EXPIRY = sa.select(sa.func.min(tasks.c.lease_expiry)).where(sa.text("state = 'LEASED'"))

_OUTBOX = sa.select(outbox).order_by(outbox.c.id).limit(bind("limit"))
_DELETE_EVENTS = outbox.delete().where(outbox.c.id <= bind("last"))


def _guarded_update(table: sa.Table, keys: Sequence[str]) -> sa.Update:
    """UPDATE … SET every other column WHERE keys AND version; row keys carry the prefix `key_`."""
    guards = [table.c[key] == bind(f"key_{key}") for key in keys]
    columns = [c.name for c in table.columns if c.name not in {*keys, "id", "request_id"}]
    return (
        table.update()
        .where(*guards, table.c.version == bind("old_version"))
        .values({name: bind(name) for name in columns})
    )


_UPDATE_JOB = _guarded_update(jobs, ["id"])
_UPDATE_TRIAL = _guarded_update(trials, ["job_id", "number"])
_UPDATE_TASK = _guarded_update(tasks, ["job_id", "trial_number", "kind"])
_INSERT_JOB, _INSERT_TRIAL, _INSERT_TASK, _INSERT_EVENT = (t.insert() for t in (jobs, trials, tasks, outbox))
_DELETE_JOB = jobs.delete().where(jobs.c.id == bind("key_id"), jobs.c.version == bind("old_version"))


class SqlTransaction:
    """A `Transaction` of the use cases on an open database transaction."""

    def __init__(self, connection: Any, cursor: Cursor):
        self._connection = connection
        self._cursor = cursor
        self.events: list[Event] = []

    # Jobs

    def job(self, job_id: int) -> Job:
        job = self.find_job(job_id)
        if job is None:
            raise NotFound(f"{names.job_name(job_id)} does not exist")
        return job

    def find_job(self, job_id: int) -> Job | None:
        row = self._one(_JOB, id=job_id)
        return None if row is None else job_from_row(row)

    def job_of_request(self, request_id: str) -> Job | None:
        row = self._one(_JOB_OF_REQUEST, request_id=request_id)
        return None if row is None else job_from_row(row)

    def add_job(self, job: Job, request_id: str) -> None:
        self._cursor.run(_INSERT_JOB, {**job_to_row(job), "id": job.id, "request_id": request_id or None})

    def save_job(self, job: Job) -> None:
        self._save(_UPDATE_JOB, job, job_to_row(job), key_id=job.id)

    def delete_job(self, job: Job) -> None:
        done = self._cursor.run(_DELETE_JOB, {"key_id": job.id, "old_version": job.version})
        if done.rowcount != 1:
            raise Conflict(job.name)

    def list_jobs(self, offset: int, limit: int) -> Sequence[Job]:
        return [job_from_row(row) for row in self._all(_JOBS, offset=offset, limit=limit)]

    def running_jobs(self) -> Sequence[Job]:
        return [job_from_row(row) for row in self._all(_RUNNING_JOBS)]

    # Trials

    def trial(self, job_id: int, number: int) -> Trial:
        trial = self.find_trial(job_id, number)
        if trial is None:
            raise NotFound(f"{names.trial_name(job_id, number)} does not exist")
        return trial

    def find_trial(self, job_id: int, number: int) -> Trial | None:
        row = self._one(_TRIAL, job_id=job_id, number=number)
        return None if row is None else trial_from_row(row)

    def add_trial(self, trial: Trial) -> None:
        row = trial_to_row(trial)
        self._cursor.run(_INSERT_TRIAL, {**row, "job_id": trial.job_id, "number": trial.number})

    def save_trial(self, trial: Trial) -> None:
        self._save(
            _UPDATE_TRIAL, trial, trial_to_row(trial), key_job_id=trial.job_id, key_number=trial.number
        )

    def open_trials(self, job_id: int) -> Sequence[Trial]:
        return [trial_from_row(row) for row in self._all(_OPEN_TRIALS, job_id=job_id)]

    def list_trials(self, job_id: int, *, best_first: bool, offset: int, limit: int) -> Sequence[Trial]:
        statement = _TRIALS_BEST_FIRST if best_first else _TRIALS_OF_JOB
        return [
            trial_from_row(row) for row in self._all(statement, job_id=job_id, offset=offset, limit=limit)
        ]

    def trained_architectures(self, job_id: int) -> Sequence[tuple[str, str]]:
        return [tuple(row) for row in self._all(_TRAINED, job_id=job_id)]

    def history(self, job_id: int, after: int) -> Iterable[SettledTrial]:
        for number, choices, reward in self._cursor.all(_HISTORY, {"job_id": job_id, "after": after}):
            yield SettledTrial(number, tuple(map(int, choices.split(","))), reward)

    # Tasks

    def task(self, job_id: int, trial_number: int, kind: TaskKind) -> Task:
        task = self.find_task(job_id, trial_number, kind)
        if task is None:
            raise NotFound(f"{names.task_name(job_id, trial_number, kind.lower())} does not exist")
        return task

    def find_task(self, job_id: int, trial_number: int, kind: TaskKind) -> Task | None:
        return self._task(_TASK, job_id=job_id, trial_number=trial_number, kind=kind)

    def add_task(self, task: Task) -> None:
        self._cursor.run(
            _INSERT_TASK,
            {
                **task_to_row(task),
                "job_id": task.job_id,
                "trial_number": task.trial_number,
                "kind": task.kind,
            },
        )

    def save_task(self, task: Task) -> None:
        self._save(
            _UPDATE_TASK,
            task,
            task_to_row(task),
            key_job_id=task.job_id,
            key_trial_number=task.trial_number,
            key_kind=task.kind,
        )

    def open_tasks(self, job_id: int, trial_number: int) -> Sequence[Task]:
        return [
            task_from_row(row) for row in self._all(_OPEN_TASKS, job_id=job_id, trial_number=trial_number)
        ]

    def next_queued_task(self, kind: TaskKind, device_type: str) -> Task | None:
        return self._task(_NEXT_QUEUED, kind=kind, device_type=device_type)

    def task_leased_by(self, worker: str) -> Task | None:
        return self._task(_LEASED_BY, worker=worker)

    def tasks_with_expired_lease(self, now: float) -> Sequence[Task]:
        return [task_from_row(row) for row in self._all(_EXPIRED, now=now)]

    def next_lease_expiry(self) -> float | None:
        earliest: float | None = self._one(_NEXT_EXPIRY)[0]
        return earliest

    # Events

    def record(self, event: Event) -> None:
        self.events.append(event)

    def write_outbox(self) -> None:
        """Stores the recorded events; the last statement of every transaction that has some."""
        if self.events:
            self._cursor.run_many(_INSERT_EVENT, [event_to_row(event) for event in self.events])

    def read_outbox(self, limit: int) -> Sequence[Any]:
        """The oldest rows of the outbox."""
        return self._all(_OUTBOX, limit=limit)

    def delete_outbox(self, last: int) -> None:
        """Forgets the events up to `last`, which have been told."""
        self._cursor.run(_DELETE_EVENTS, {"last": last})

    def commit(self) -> None:
        """Makes everything durable, or, when that fails, undoes it. Waits for the disk."""
        try:
            self._cursor.commit(self._connection)
        except BaseException:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Undoes everything; nothing to do where the database has done so by itself."""
        self._connection.rollback()

    def _one(self, statement: sa.Select[Any], **parameters: Any) -> Any:
        return self._cursor.first(statement, parameters)

    def _all(self, statement: sa.Select[Any], **parameters: Any) -> Sequence[Any]:
        return self._cursor.all(statement, parameters)

    def _task(self, statement: sa.Select[Any], **parameters: Any) -> Task | None:
        row = self._one(statement, **parameters)
        return None if row is None else task_from_row(row)

    def _save(self, statement: sa.Update, what: Job | Trial | Task, row: dict[str, Any], **keys: Any) -> None:
        row.update(keys, old_version=what.version, version=what.version + 1)
        if self._cursor.run(statement, row).rowcount != 1:
            raise Conflict(what.name)
        what.version += 1


class SqlStore:
    """Opens transactions on a database.

    Args:
      engine: as `engine.open_database` makes it.
    """

    def __init__(self, engine: sa.Engine):
        self._engine = engine
        self._compiler = Compiler(engine.dialect)
        self._writer = engine.raw_connection()
        # Begun on the event loop, which must not be held up: who finds the database locked tries again.
        Cursor(self._writer, self._compiler).run_text("PRAGMA busy_timeout = 0")

    def begin(self) -> SqlTransaction:
        """A transaction that writes, for one caller at a time, who commits or rolls it back.

        Raises:
          sqlalchemy.exc.OperationalError: at once, if somebody else has locked the database.
        """
        # A writer takes the write lock at once: taking it later can fail in the middle.
        cursor = Cursor(self._writer, self._compiler)
        cursor.run_text("BEGIN IMMEDIATE")
        return SqlTransaction(self._writer, cursor)

    @contextmanager
    def write(self) -> Iterator[SqlTransaction]:
        """A transaction that is committed, with its events, when the block ends without an error."""
        transaction = self.begin()
        try:
            yield transaction
            transaction.write_outbox()
        except BaseException:
            transaction.rollback()
            raise
        transaction.commit()

    @contextmanager
    def read(self) -> Iterator[SqlTransaction]:
        """A transaction that sees one state of the database and changes nothing."""
        connection = self._engine.raw_connection()
        try:
            cursor = Cursor(connection, self._compiler)
            cursor.run_text("BEGIN")
            yield SqlTransaction(connection, cursor)
        finally:
            # The pool rolls back what was begun.
            connection.close()

    def history(self, job_id: int, after: int) -> list[SettledTrial]:
        """Settled trials of a job after the first `after`, in a read of its own."""
        with self.read() as transaction:
            return list(transaction.history(job_id, after))

    def close(self) -> None:
        """Closes every connection."""
        self._writer.close()
        self._engine.dispose()
