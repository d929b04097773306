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
    BUILD = "images"
    TRIALS = "trials"
    ALGORITHM = "algorithm and reward"
    TRAINER = "trainer"
    LATENCY = "latency"
    STAGE_2 = "stage 2: full training of the best trials"
    OWN_TRAINER = "a trainer of your own (--use_prebuilt_trainer=False)"
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


ALGORITHMS = ("REGULARIZED_EVOLUTION", "RANDOM")
VERTEX_ALGORITHMS = ("REINFORCEMENT_LEARNING", "GRID_SEARCH")
REWARD_FORMS = ("soft", "hard", "exponents")

PROJECT = (
    _ignored("project_id", "Google Cloud project"),
    _ignored("region", "Google Cloud region", "us-central1"),
)

IMAGES = (
    _text(
        "trainer_docker_id",
        Group.TRAINER,
        "image of your own trainer; with --use_prebuilt_trainer=True it is not needed: the prebuilt one runs "
        "as a process",
    ),
    _ignored("latency_calculator_docker_id", "latency calculator image; it runs as a process here"),
)

OWN_TRAINER = (
    _boolean("run_local_binary", Group.OWN_TRAINER, "run --local_binary as a process instead of an image"),
    _text(
        "local_binary", Group.OWN_TRAINER, "program to run for every trial; a .py file runs with this Python"
    ),
    Flag(
        "local_binary_flags",
        Kind.KEY_VALUES,
        {},
        Group.OWN_TRAINER,
        "flags of that program, beside those of --search_docker_flags",
    ),
    Flag(
        "trial_timeout_seconds",
        Kind.NUMBER,
        None,
        Group.OWN_TRAINER,
        "seconds after which a program is ended [default: never]",
    ),
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
        "train with the Model Garden trainer of this project, even if --trainer_docker_id names an image",
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
        "num_cloud_latency_workers",
        Kind.COUNT_OR_ZERO,
        1,
        Group.LATENCY,
        "0: start no latency calculator; one that joins (run_latency_calculator_local) measures. Above "
        "1 means 1, for a device is measured by one at a time",
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
)

TRAIN = (
    Flag(
        "train_docker_flags",
        Kind.KEY_VALUES,
        {},
        Group.STAGE_2,
        "flags of the trainer in stage 2: params_override, training_data_path, validation_data_path, "
        "model …; retrain_use_search_job_checkpoint=True starts from the weights of the search",
    ),
    _count("train_max_parallel_trial", Group.STAGE_2, "trials of a round, and trained at once", 5),
    _text("train_accelerator_type", Group.STAGE_2, "accelerator a trial needs; empty: CPU"),
    Flag(
        "train_num_gpus",
        Kind.COUNT_OR_ZERO,
        None,
        Group.STAGE_2,
        "accelerators per trial [default: 1 with a type]",
    ),
)

STAGE_2 = (
    *TRAIN,
    _count(
        "train_frequency",
        Group.STAGE_2,
        "search trials between two rounds; a rest at the end of the search makes one more",
        1000,
    ),
)

STAGE_2_IGNORED = (
    _ignored("train_master_machine_type", "machine type of a trainer of stage 2"),
    _ignored("train_num_mirror_machines", "machines per trial of stage 2", 1, Kind.COUNT_OR_ZERO),
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
        *OWN_TRAINER,
        *LATENCY,
        *STAGE_2,
        *CONNECTION,
        *EMBEDDED,
        *DEBUG,
        *PROJECT,
        *IMAGES,
        *TRAINER_IGNORED,
        *STAGE_2_IGNORED,
        *LATENCY_IGNORED,
    ),
)
SEARCH_IN_LOCAL = CommandFlags(
    "search_in_local",
    "run one trial of a randomly sampled architecture on this machine, to check data and flags",
    (
        *(flag for flag in JOB if flag.name not in ("root_output_dir", "resume", "job_name")),
        _text("local_output_dir", Group.JOB, "directory the trial makes its own directory in"),
        _text(
            "local_data_dir",
            Group.JOB,
            "directory that relative data paths in --search_docker_flags are looked up in",
        ),
        *(flag for flag in ALGORITHM if flag.name in ("seed", "nas_target_reward_metric")),
        *TRAINER,
        *OWN_TRAINER,
        *LATENCY,
        *DEBUG,
        *PROJECT,
        *IMAGES,
        *LATENCY_IGNORED,
    ),
)
TRAIN_COMMAND = CommandFlags(
    "train",
    "train chosen trials of a search fully, in a job of their own",
    (
        _text("search_job_id", Group.JOB, "numeric id of the search"),
        _text(
            "train_nas_trial_numbers", Group.JOB, "numbers of the trials, in the order of training: 12,40,7"
        ),
        _text("train_job_suffix", Group.JOB, "the job is named after the search and this", "train"),
        _text("root_output_dir", Group.JOB, "directory of the search [default: looked up by the id]"),
        *TRAIN,
        _boolean(
            "use_prebuilt_trainer",
            Group.TRAINER,
            "train with the Model Garden trainer of this project [default: as the search did]",
        ),
        *OWN_TRAINER,
        *LATENCY,
        *CONNECTION,
        *EMBEDDED,
        *DEBUG,
        *PROJECT,
        *IMAGES,
        _ignored("search_job_region", "region of the search", "us-central1"),
        *STAGE_2_IGNORED,
        *LATENCY_IGNORED,
    ),
)
RUN_LATENCY = CommandFlags(
    "run_latency_calculator_local",
    "measure the models of a running search on this machine, until the search ends",
    (
        _text("search_job_id", Group.JOB, "numeric id of the search"),
        _text("root_output_dir", Group.JOB, "directory of the search [default: looked up by the id]"),
        _text("local_output_dir", Group.JOB, "directory for the log [default: the terminal]"),
        Flag("latency_worker_id", Kind.COUNT_OR_ZERO, 0, Group.LATENCY, "number of this worker, from 0"),
        _count(
            "num_latency_workers", Group.LATENCY, "workers that were started for the search, this one too", 1
        ),
        *LATENCY,
        *CONNECTION,
        *DEBUG,
        *PROJECT,
        *IMAGES[1:],
        *LATENCY_IGNORED,
    ),
)
BUILD = CommandFlags(
    "build",
    "build the images of trainer and latency calculator",
    (
        _text("trainer_docker_id", Group.BUILD, "name of the trainer image"),
        _text("latency_calculator_docker_id", Group.BUILD, "name of the latency calculator image"),
        _text(
            "trainer_docker_file",
            Group.BUILD,
            "Dockerfile of the trainer; one that does not exist is looked up by its name among those shipped",
            "services/trainer/Dockerfile",
        ),
        _text(
            "latency_calculator_docker_file",
            Group.BUILD,
            "Dockerfile of the latency calculator, as above",
            "services/latency_calculator/Dockerfile",
        ),
        _boolean("use_cache", Group.BUILD, "use the layers of earlier builds", True),
        _boolean("push", Group.BUILD, "push the images; their names say where to: REGISTRY/PROJECT/NAME"),
        _text(
            "engine",
            Group.BUILD,
            "docker or podman [default: the first that answers]",
            "",
            ("docker", "podman"),
        ),
        *DEBUG,
        *PROJECT,
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
    "select_proxy_task_models",
    "search_proxy_task",
    "measure_proxy_task_variance",
)
