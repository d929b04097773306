"""The flags of the command line, declared once: names, defaults and meaning, and which command takes which.

Names and defaults are those of the Vertex NAS user's guide. A flag that has no meaning on the stack that
runs the search is accepted all the same, so that the guide's commands run as they are printed.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """How the text of a flag is read."""

    TEXT = "text"
    # Whole number, 1 or more.
    COUNT = "count"
    # Whole number, 0 or more.
    COUNT_OR_ZERO = "count, 0 allowed"
    # Any whole number.
    INTEGER = "integer"
    # Finite number, 0 or more.
    NUMBER = "number"
    # `True` or `False`; the flag alone means True.
    BOOLEAN = "True|False"
    # `key=value key=value …`, up to the next flag.
    KEY_VALUES = "key=value …"


class Group(Enum):
    """Headings of `--help`, in this order."""

    JOB = "job"
    TRIALS = "trials"
    ALGORITHM = "algorithm and reward"
    TRAINER = "trainer"
    LATENCY = "latency"
    STAGE_2 = "stage 2 (not in this version: giving one is an error)"
    CONNECTION = "connection"
    EMBEDDED = "embedded stack (without --endpoint)"
    DISPLAY = "display"
    COMPATIBILITY = "accepted for compatibility, without effect here"


class Support(Enum):
    """What this version makes of a flag that is given."""

    USED = "used"
    # Accepted and ignored: it has no meaning where this version runs.
    IGNORED = "ignored"
    # The user would miss something if it were ignored: giving it is an error.
    NOT_YET = "not yet"


@dataclass(frozen=True)
class Flag:
    """One `--name`.

    Attributes:
      default: value when the flag is not given; None for "depends" (the help says on what).
      choices: the values allowed, for a TEXT flag.
    """

    name: str
    kind: Kind
    default: Any
    group: Group
    help: str
    choices: tuple[str, ...] = ()
    support: Support = Support.USED


def _text(
    name: str, group: Group, help: str, default: str | None = "", choices: tuple[str, ...] = ()
) -> Flag:
    return Flag(name, Kind.TEXT, default, group, help, choices)


def _count(name: str, group: Group, help: str, default: int | None) -> Flag:
    return Flag(name, Kind.COUNT, default, group, help)


def _boolean(name: str, group: Group, help: str, default: bool = False) -> Flag:
    return Flag(name, Kind.BOOLEAN, default, group, help)


def _ignored(name: str, help: str, default: Any = "", kind: Kind = Kind.TEXT) -> Flag:
    return Flag(name, kind, default, Group.COMPATIBILITY, help, support=Support.IGNORED)


def _stage_2(name: str, help: str, default: Any = "", kind: Kind = Kind.TEXT) -> Flag:
    return Flag(name, kind, default, Group.STAGE_2, help, support=Support.NOT_YET)


ALGORITHMS = ("REGULARIZED_EVOLUTION", "RANDOM")
VERTEX_ALGORITHMS = ("REINFORCEMENT_LEARNING", "GRID_SEARCH")
REWARD_FORMS = ("soft", "hard", "exponents")

PROJECT = (
    _ignored("project_id", "Google Cloud project"),
    _ignored("region", "Google Cloud region", "us-central1"),
)

IMAGES = (
    _ignored("trainer_docker_id", "trainer image; the prebuilt trainer runs as a process here"),
    _ignored("latency_calculator_docker_id", "latency calculator image; it runs as a process here"),
)

CONNECTION = (
    _text(
        "endpoint",
        Group.CONNECTION,
        "host:port (or https://host) of an orchestrator; without it the command runs its own, embedded stack",
    ),
    _text("token_file", Group.CONNECTION, "file holding the token the orchestrator at --endpoint asks for"),
)

DEBUG = (_boolean("debug", Group.DISPLAY, "show tracebacks, and debug lines in the logs"),)

JOB = (
    _text(
        "job_name",
        Group.JOB,
        "name people give the search: letters, digits, '_', '.', '-' [default: the search space's name]",
        None,
    ),
    _text("root_output_dir", Group.JOB, "directory the search makes its own directory in"),
    _boolean(
        "resume",
        Group.JOB,
        "go on with the last search of this --job_name in --root_output_dir instead of starting one",
    ),
    _text("prebuilt_search_space", Group.JOB, "search space by name, e.g. mnasnet"),
    _text("search_space_module", Group.JOB, "your own search space, package.module:attribute"),
)

LIMITS = (
    _count("max_nas_trial", Group.TRIALS, "trials after which the search ends", 5),
    _count("max_parallel_nas_trial", Group.TRIALS, "trials that run at once", 5),
    _count("max_failed_nas_trial", Group.TRIALS, "failed trials after which the search fails", 5),
)

# What a resume is not told stays as the job has it.
RESUME_LIMITS = tuple(
    Flag(flag.name, flag.kind, None, flag.group, f"{flag.help} [default: the job's]") for flag in LIMITS
)

ALGORITHM = (
    _text(
        "algorithm",
        Group.ALGORITHM,
        "how architectures are proposed (the last two are not in this version yet)",
        "REGULARIZED_EVOLUTION",
        (*ALGORITHMS, *VERTEX_ALGORITHMS),
    ),
    Flag("seed", Kind.INTEGER, 0, Group.ALGORITHM, "the same seed proposes the same architectures"),
    _count("population_size", Group.ALGORITHM, "evolution: parents, drawn at random at first", 50),
    _count("tournament_size", Group.ALGORITHM, "evolution: parents compared per proposal", 10),
    _text(
        "nas_target_reward_metric",
        Group.ALGORITHM,
        "metric of the trainer the reward is made of [default: top_1_accuracy; AP for model=retinanet]",
        None,
    ),
    _text(
        "reward_form",
        Group.ALGORITHM,
        "factor (target/measured)^w of the reward: soft w=0.07; hard w=0 up to the target and 1 above; "
        "exponents w=alpha up to the target and beta above",
        "soft",
        REWARD_FORMS,
    ),
    Flag("reward_alpha", Kind.NUMBER, None, Group.ALGORITHM, "alpha of --reward_form=exponents"),
    Flag("reward_beta", Kind.NUMBER, None, Group.ALGORITHM, "beta of --reward_form=exponents"),
)

TRAINER = (
    _boolean(
        "use_prebuilt_trainer",
        Group.TRAINER,
        "train with the Model Garden trainer of this project; needed when --trainer_docker_id is given",
    ),
    Flag(
        "search_docker_flags",
        Kind.KEY_VALUES,
        {},
        Group.TRAINER,
        "flags of the trainer: params_override (YAML file or inline a.b=c list), training_data_path, "
        "validation_data_path, model …; and the targets target_device_latency_ms or "
        "target_flops_multi_adds_billion, and target_memory_mb",
    ),
    _text("accelerator_type", Group.TRAINER, "accelerator a trial needs, e.g. NVIDIA_TESLA_T4; empty: CPU"),
    Flag(
        "num_gpus", Kind.COUNT_OR_ZERO, None, Group.TRAINER, "accelerators per trial [default: 1 with a type]"
    ),
)

TRAINER_IGNORED = (
    _ignored("master_machine_type", "machine type of the trainer"),
    _ignored("num_mirror_machines", "machines per trial", 1, Kind.COUNT_OR_ZERO),
)

LATENCY = (
    _text("target_device_type", Group.LATENCY, "device every SavedModel is measured on, e.g. CPU"),
    _boolean(
        "use_prebuilt_latency_calculator",
        Group.LATENCY,
        "measure every SavedModel on --target_device_type",
    ),
    _count(
        "prebuilt_latency_image_width",
        Group.LATENCY,
        "image width in pixels where the model leaves it open",
        512,
    ),
    _count(
        "prebuilt_latency_image_height",
        Group.LATENCY,
        "image height in pixels where the model leaves it open",
        512,
    ),
    _count(
        "prebuilt_num_repetitions_for_latency_computation",
        Group.LATENCY,
        "timed inferences per model",
        100,
    ),
    Flag(
        "latency_docker_flags",
        Kind.KEY_VALUES,
        {},
        Group.LATENCY,
        "flags of your own latency calculator (not in this version: giving one is an error)",
        support=Support.NOT_YET,
    ),
)

LATENCY_IGNORED = (
    _ignored("prebuilt_latency_input_node", "input node; the SavedModel's signature says it"),
    _ignored("prebuilt_latency_output_nodes", "output nodes; the SavedModel's signature says them"),
    _ignored("prebuilt_latency_tensorrt_conversion_on_gpu", "TensorRT on GPUs", True, Kind.BOOLEAN),
    _ignored(
        "num_cloud_latency_workers", "latency workers; a device is measured by one", 1, Kind.COUNT_OR_ZERO
    ),
)

STAGE_2 = (
    Flag(
        "train_docker_flags",
        Kind.KEY_VALUES,
        {},
        Group.STAGE_2,
        "flags of the trainer in stage 2",
        support=Support.NOT_YET,
    ),
    _stage_2("train_max_parallel_trial", "trials trained at once", 5, Kind.COUNT),
    _stage_2("train_frequency", "search trials between two rounds of training", 1000, Kind.COUNT),
    _stage_2("train_accelerator_type", "accelerator of a trained trial"),
    _stage_2("train_num_gpus", "accelerators per trained trial", None, Kind.COUNT_OR_ZERO),
    _stage_2("train_master_machine_type", "machine type"),
    _stage_2("train_num_mirror_machines", "machines per trained trial", 1, Kind.COUNT_OR_ZERO),
)

EMBEDDED = (
    _count(
        "num_train_workers",
        Group.EMBEDDED,
        "trainers to start [default: one per core or set of accelerators, up to --max_parallel_nas_trial]",
        None,
    ),
    Flag(
        "lease_seconds",
        Kind.NUMBER,
        None,
        Group.EMBEDDED,
        "seconds after which a silent worker's task is given to another [default: the orchestrator's]",
    ),
)

LIST = (
    _text("job_id", Group.JOB, "numeric id of the search"),
    _text("root_output_dir", Group.JOB, "directory of an embedded search [default: looked up by the id]"),
    Flag("max_trials", Kind.COUNT_OR_ZERO, 20, Group.DISPLAY, "trials to list; 0 lists all"),
    _text("trials_output_file", Group.DISPLAY, "also write the trials to this file: JSON, or CSV for *.csv"),
)

RESUME = (
    _text("previous_nas_job_id", Group.JOB, "numeric id of the search to go on with"),
    _text(
        "root_output_dir",
        Group.JOB,
        "directory of the search, or a new one for the trials to come [default: the search's own]",
    ),
    _ignored("previous_latency_job_id", "latency job of the search; one job holds both here"),
)


@dataclass(frozen=True)
class CommandFlags:
    """A command: its one-line description and its flags."""

    name: str
    summary: str
    flags: tuple[Flag, ...]


SEARCH = CommandFlags(
    "search",
    "search for architectures: propose, train, measure, reward, until --max_nas_trial have settled",
    (
        *JOB,
        *LIMITS,
        *ALGORITHM,
        *TRAINER,
        *LATENCY,
        *STAGE_2,
        *CONNECTION,
        *EMBEDDED,
        *DEBUG,
        *PROJECT,
        *IMAGES,
        *TRAINER_IGNORED,
        *LATENCY_IGNORED,
    ),
)
SEARCH_RESUME = CommandFlags(
    "search_resume",
    "go on with a search that ended or was interrupted, up to higher limits",
    (*RESUME, *RESUME_LIMITS, *CONNECTION, *EMBEDDED, *DEBUG, *PROJECT),
)
LIST_TRIALS = CommandFlags(
    "list_trials",
    "list the trials of a search, best first",
    (*LIST, *CONNECTION, *DEBUG, *PROJECT),
)

# Commands of the guide that this version answers with a clear "not yet".
NOT_YET_COMMANDS = (
    "build",
    "search_in_local",
    "train",
    "run_latency_calculator_local",
    "select_proxy_task_models",
    "search_proxy_task",
    "measure_proxy_task_variance",
)
