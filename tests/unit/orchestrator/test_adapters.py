"""Converters, migrations and files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from google.protobuf import json_format
from nas.v1 import resources_pb2

from nas_orchestrator.adapters import scribe
from nas_orchestrator.adapters.rpc.convert import spec_from_proto, spec_to_proto, timestamp
from nas_orchestrator.adapters.sql import store as statements
from nas_orchestrator.adapters.sql.engine import migrate, open_database
from nas_orchestrator.adapters.sql.rows import event_from_row, event_to_row
from nas_orchestrator.adapters.sql.store import SqlStore
from nas_orchestrator.adapters.sql.tables import metadata
from nas_orchestrator.domain import events
from nas_orchestrator.domain.job import (
    AlgorithmKind,
    AlgorithmSpec,
    Job,
    JobSpec,
    Limits,
    MeasureSpec,
    Program,
    TrainSpec,
    TrainStage,
)
from nas_orchestrator.domain.task import TaskKind
from nas_orchestrator.domain.trial import Stage, Trial, TrialState
from nas_orchestrator.usecases.store import Conflict
from nas_shared.errors import InvalidArgument, Unavailable
from nas_shared.reward import Form, RewardSpec, Target

FULL_SPEC = JobSpec(
    search_space="mnasnet",
    algorithm=AlgorithmSpec(AlgorithmKind.RANDOM, seed=-(2**63), population_size=7, tournament_size=3),
    reward=RewardSpec(
        "top_1_accuracy",
        latency_ms=Target(0.1 + 0.2, Form.EXPONENTS, 0.0, 0.25),
        memory_mb=Target(1e-9, Form.HARD),
    ),
    limits=Limits(2**31 - 1, 3, 2),
    train=TrainSpec({"übergröße": "a=b c", "empty": ""}, "NVIDIA_TESLA_T4", 2),
    measure=MeasureSpec("CPU", "tensorflow", 8, 224, 192, 50, 0.000001),
    root_output_dir="/data/ö ä",
    train_stage=TrainStage(
        TrainSpec({"a": "1"}, "T4", 8, Program("image:1", ("python", "train.py"), 0.25)),
        frequency=7,
        max_parallel=2,
        trials=("searchJobs/1/trials/2", "searchJobs/1/trials/1"),
    ),
)
BARE_SPEC = JobSpec("mnasnet", AlgorithmSpec(), RewardSpec("m"), Limits(1, 1))


@pytest.fixture
def store(tmp_path):
    store = SqlStore(open_database(f"sqlite:///{tmp_path}/nas.db"))
    yield store
    store.close()


@pytest.mark.parametrize("spec", [FULL_SPEC, BARE_SPEC], ids=["full", "bare"])
def test_a_specification_survives_the_wire_and_the_store(spec, store):
    assert spec_from_proto(spec_to_proto(spec)) == spec
    with store.write() as tx:
        tx.add_job(Job(1, "j", spec, 1.5), "")
    with store.read() as tx:
        assert tx.job(1).spec == spec


def test_zeros_of_a_request_become_the_documented_defaults():
    spec = spec_from_proto(resources_pb2.SearchJobSpec(algorithm=resources_pb2.Algorithm(population_size=4)))
    assert spec.algorithm == AlgorithmSpec(AlgorithmKind.REGULARIZED_EVOLUTION, 0, 4, 4)
    assert spec.measure is None


def test_an_unknown_enum_value_is_refused():
    with pytest.raises(InvalidArgument, match="algorithm.kind: found 99"):
        spec_from_proto(resources_pb2.SearchJobSpec(algorithm=resources_pb2.Algorithm(kind=99)))


@pytest.mark.parametrize("seconds", [0.0, 1_700_000_000.999999, 1.25])
def test_times_keep_their_microseconds(seconds):
    message = timestamp(seconds)
    assert message.seconds + message.nanos / 1e9 == pytest.approx(seconds, abs=1e-6)
    assert 0 <= message.nanos < 1_000_000_000


@pytest.mark.parametrize(
    "event",
    [
        events.TaskReady(1, 2, TaskKind.MEASURE, "CPU"),
        events.TrialChanged(1, 2, "ACTIVE"),
        events.JobChanged(1, "FAILED"),
    ],
)
def test_an_event_survives_the_outbox(event):
    row = type("Row", (), event_to_row(event))
    assert event_from_row(row) == event


def test_the_migrations_build_the_tables_of_the_code(store):
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(store):
    migrate(store._engine)
    migrate(store._engine)


def test_a_database_from_before_stage_2_is_brought_up_to_date_with_what_it_holds(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/old.db")
    migrate(engine, "0001")
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO jobs VALUES (7, NULL, 'old', :spec, '/out', 'SUCCEEDED', '', "
                "1, 0, 1, 0, 0, 0, 1, 0.5, 1.0, 2.0, 3)"
            ),
            {"spec": json_format.MessageToJson(spec_to_proto(BARE_SPEC))},
        )
        connection.execute(
            sa.text(
                "INSERT INTO trials (job_id, number, choices, nas_params_str, proposed_after, trial_dir, "
                "state, trained, measured, metrics, reward, latest_step, latest_metrics, error_message, "
                "failure_reason, infeasible_reason, settled_order, winning_attempt, train_attempts, "
                "create_time, version) VALUES (7, 1, '0,1', '{}', 0, '', 'SUCCEEDED', 1, 0, '{}', 0.5, 0, "
                "'{}', '', '', '', 1, 1, 1, 1.0, 1)"
            )
        )
    engine.dispose()
    store = SqlStore(open_database(f"sqlite:///{tmp_path}/old.db"))
    with store.read() as transaction:
        job, trial = transaction.job(7), transaction.trial(7, 1)
    store.close()
    assert (job.display_name, job.spec, job.counts.succeeded) == ("old", BARE_SPEC, 1)
    assert (job.train_counts.created, job.train_due) == (0, 0)
    assert (trial.stage, trial.source_trial, trial.reward) == (Stage.SEARCH, "", 0.5)


def test_a_trial_survives_the_store_with_awkward_values(store):
    trial = Trial(
        1,
        1,
        (0, 12, 3),
        '{"a": "ü"}',
        0,
        0.1 + 0.2,
        state=TrialState.INFEASIBLE,
        metrics={"loss µ": 1e-300, "big": 1.7976931348623157e308},
        reward=-0.0,
        infeasible_reason="“quoted”\n",
        settled_order=1,
        end_time=2.000001,
    )
    with store.write() as tx:
        tx.add_job(Job(1, "j", BARE_SPEC, 0.0), "")
        tx.add_trial(trial)
    with store.read() as tx:
        assert tx.trial(1, 1) == trial


def test_a_save_over_somebody_elses_change_is_refused_and_changes_nothing(store):
    with store.write() as tx:
        tx.add_job(Job(1, "j", BARE_SPEC, 0.0), "")
    with store.read() as tx:
        mine, theirs = tx.job(1), tx.job(1)
    with store.write() as tx:
        theirs.error_message = "theirs"
        tx.save_job(theirs)
    with pytest.raises(Conflict), store.write() as tx:
        mine.error_message = "mine"
        tx.save_job(mine)
    with store.read() as tx:
        assert tx.job(1).error_message == "theirs"


def test_no_two_trials_settle_in_the_same_place(store):
    with store.write() as tx:
        tx.add_job(Job(1, "j", BARE_SPEC, 0.0), "")
    with pytest.raises(sa.exc.IntegrityError), store.write() as tx:
        for number in (1, 2):
            tx.add_trial(Trial(1, number, (0,), "{}", 0, 0.0, settled_order=1))
    with store.read() as tx:
        assert tx.list_trials(1, best_first=False, offset=0, limit=9) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "expected sqlite"),
        ("mysql://x/y", "expected sqlite"),
        ("sqlite:////no/such/directory/nas.db", "there is no directory"),
    ],
)
def test_a_database_that_cannot_be_opened_is_named(url, expected):
    with pytest.raises(InvalidArgument, match=expected):
        open_database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "nas.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/nas.db")


def test_the_work_of_a_trial_uses_an_index_however_many_there_are(store):
    listings = ("_JOBS", "_RUNNING_JOBS", "_TRIALS_OF_JOB", "_TRIALS_BEST_FIRST", "_OUTBOX")
    per_trial = {
        name: value
        for name, value in vars(statements).items()
        if isinstance(value, sa.Select | sa.Update | sa.Delete) and name not in listings
    }
    assert len(per_trial) > 10
    for name, statement in per_trial.items():
        compiled = statement.compile(store._engine)
        with store._engine.connect() as connection:
            values = (0,) * len(compiled.positiontup)
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)
            details = [row[-1] for row in plan]
        assert not any(line.startswith("SCAN") and "USING" not in line for line in details), (name, details)


def published(tmp_path: Path, **changes) -> tuple[Job, Trial, Path]:
    job = Job(1, "j", BARE_SPEC, 0.0)
    trial = Trial(1, 1, (0,), "{}", 0, 0.0, trial_dir=str(tmp_path / "1"), state=TrialState.SUCCEEDED)
    trial.metrics, trial.reward, trial.winning_attempt = {"m": 0.5}, 0.5, 2
    for name, value in changes.items():
        setattr(trial, name, value)
    attempt = tmp_path / "1/attempts/2"
    (attempt / "untrained").mkdir(parents=True)
    (attempt / "saved_model").mkdir()
    (attempt / "saved_model/new").touch()
    return job, trial, tmp_path / "1"


def test_publishing_twice_or_after_a_crash_in_the_middle_gives_the_same_files(tmp_path):
    job, trial, trial_dir = published(tmp_path)
    (trial_dir / "saved_model").mkdir()
    (trial_dir / "saved_model/old").touch()
    scribe.publish(job, trial)
    scribe.publish(job, trial)
    assert sorted(str(path.relative_to(trial_dir)) for path in trial_dir.rglob("*")) == [
        "job_status.json",
        "model_analysis.json",
        "saved_model",
        "saved_model/new",
    ]


def test_files_of_lost_attempts_stay_where_they_are(tmp_path):
    job, trial, trial_dir = published(tmp_path)
    (trial_dir / "attempts/1").mkdir()
    scribe.publish(job, trial)
    assert (trial_dir / "attempts/1").is_dir()
    assert not (trial_dir / "attempts/2").exists()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"state": TrialState.FAILED, "failure_reason": "INTERNAL", "error_message": "x"}, "failed"),
        ({"state": TrialState.FAILED, "failure_reason": "NAN_LOSS"}, "failed_with_nan_error"),
        ({"state": TrialState.INFEASIBLE, "failure_reason": "NAN_LOSS"}, "failed_with_nan_error"),
        ({"state": TrialState.INFEASIBLE, "infeasible_reason": "slow"}, "infeasible"),
        ({"state": TrialState.CANCELLED}, "cancelled"),
    ],
)
def test_a_trial_without_success_leaves_its_parameters_and_its_status(tmp_path, changes, status):
    job, trial, trial_dir = published(tmp_path, **changes)
    scribe.publish(job, trial)
    assert json.loads((trial_dir / "job_status.json").read_text())["job_status"] == status
    assert (trial_dir / "nas_params_str.json").read_text() == "{}"
    assert not (trial_dir / "model_analysis.json").exists()


def test_the_orchestrator_imports_no_tensorflow():
    program = "import sys, nas_orchestrator.main; print([m for m in sys.modules if m.split('.')[0] in "
    program += "('tensorflow', 'tf_keras', 'keras', 'official')])"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"
