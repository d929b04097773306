"""The flags of a job, read by the trainer."""

import pytest

from nas_trainer.errors import ConfigError
from nas_trainer.flags import TrainerFlags

DATA = {"training_data_path": "train*", "validation_data_path": "validation*"}


def test_flags_of_the_guide_are_read():
    flags = TrainerFlags.parse(
        DATA
        | {
            "params_override": "mnasnet_search_cpu.yaml",
            "model": "classification",
            "search_space": "mnasnet",
            "target_device_latency_ms": "50",
            "target_memory_mb": "12.5",
            "job_mode": "train_and_eval",
            "skip_nan_error": "True",
            "multiple_eval_during_search": "False",
        }
    )
    assert flags.target_device_latency_ms == 50.0
    assert flags.target_memory_mb == 12.5
    assert flags.skip_nan_error
    assert not flags.multiple_eval_during_search
    assert flags.evaluates


@pytest.mark.parametrize("off", [{"skip_eval": "true"}, {"job_mode": "train"}])
def test_validation_data_is_needed_only_for_evaluation(off):
    flags = TrainerFlags.parse({"training_data_path": "train*"} | off)
    assert not flags.evaluates


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"trainig_data_path": "x"}, r"trainig_data_path: unknown .* training_data_path"),
        ({"validation_data_path": "x"}, "training_data_path: missing"),
        ({"training_data_path": "x"}, "validation_data_path: missing"),
        (DATA | {"model": "unet"}, "model: found 'unet'; expected one of classification, retinanet"),
        (DATA | {"job_mode": "eval"}, "job_mode: found 'eval'"),
        (DATA | {"skip_eval": "yes"}, "skip_eval: found 'yes'; expected True or False"),
        (DATA | {"target_memory_mb": "0"}, "target_memory_mb: found 0; expected a number above 0"),
        (DATA | {"target_memory_mb": "-3"}, "target_memory_mb: found -3"),
        (DATA | {"target_memory_mb": "nan"}, "target_memory_mb: found 'nan'; expected a number"),
        (DATA | {"export_batch_size": "1.5"}, "export_batch_size: found '1.5'; expected a whole number"),
        (DATA | {"export_batch_size": "-1"}, "export_batch_size: found -1"),
        (
            DATA | {"target_device_latency_ms": "5", "target_flops_multi_adds_billion": "1"},
            "exclude each other",
        ),
    ],
)
def test_wrong_flag_is_named_with_what_was_expected(flags, message):
    with pytest.raises(ConfigError, match=message):
        TrainerFlags.parse(flags)
