"""`params_override`, and the configuration it makes."""

import pytest

from nas_trainer import overrides
from nas_trainer.devices import Devices
from nas_trainer.errors import ConfigError
from nas_trainer.flags import TrainerFlags
from nas_trainer.training import experiment


def configure(params_override, devices=Devices(), model="classification", search_space="mnasnet"):  # noqa: B008  (frozen)
    flags = TrainerFlags(
        params_override=params_override, training_data_path="t", validation_data_path="v", model=model
    )
    return experiment.configure(flags, search_space=search_space, nas_params_str="{}", devices=devices)


def configure_detector(params_override):
    return configure(params_override, model="retinanet", search_space="spinenet")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.model.input_size=[100,128,3]", r"input_size: found \[100, 128, 3\]; .* multiples of 128"),
        ("task.model.num_classes=1", "num_classes: found 1; expected 2 or more, the background included"),
        ("task.model.min_level=2", "min_level, max_level: found 2, 7; expected 3, 7"),
        ("task.annotation_file=coco.json", "annotation_file: found 'coco.json'"),
        ("task.model.anchor.aspect_ratios=[0.0]", "aspect_ratios"),
        ("task.model.backbone.type=resnet", "backbone.type: found 'resnet'; expected 'nas_spinenet'"),
        ("task.model.head.num_filters=0", "head.num_filters: found 0"),
    ],
)
def test_a_detector_that_cannot_be_built_is_refused_by_key(override, message):
    with pytest.raises(ConfigError, match=message):
        configure_detector(override)


def test_a_search_space_is_trained_by_the_model_it_is_for():
    with pytest.raises(ConfigError, match="model: found 'classification'; .* 'spinenet' are for 'retinanet'"):
        configure("", search_space="spinenet")


@pytest.mark.parametrize("separator", [",", " ", ", "])
def test_inline_list_changes_nested_keys(separator):
    params = configure(separator.join(["trainer.train_steps=7", "task.model.input_size=[32,32,3]"]))
    assert params.trainer.train_steps == 7
    assert params.task.model.input_size == [32, 32, 3]


def test_inline_text_may_hold_slashes_and_quotes():
    params = configure("task.init_checkpoint=/models/ckpt-1,task.name='a, b'")
    assert params.task.init_checkpoint == "/models/ckpt-1"
    assert params.task.name == "a, b"


def test_exponent_without_a_dot_is_a_number(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("task: {losses: {l2_weight_decay: 1e-5}}")
    assert configure(str(path)).task.losses.l2_weight_decay == 1e-5


@pytest.mark.parametrize("name", overrides.shipped())
def test_every_shipped_configuration_is_valid_and_found_by_base_name(name):
    detects = "spinenet" in name
    params = configure(
        f"tf_vision/configs/experiments/{name}",
        model="retinanet" if detects else "classification",
        search_space="spinenet" if detects else "mnasnet",
    )
    assert params.trainer.train_steps > 0
    assert params.trainer.summary_interval % params.trainer.steps_per_loop == 0


def test_file_of_the_user_wins_over_a_shipped_one_of_the_same_name(tmp_path):
    path = tmp_path / "mnasnet_search_cpu.yaml"
    path.write_text("trainer: {train_steps: 5}")
    assert configure(str(path)).trainer.train_steps == 5


def test_guide_keys_for_learning_rate_and_warmup_are_taken():
    params = configure(
        "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0.3,"
        "trainer.optimizer_config.warmup.linear.warmup_steps=9"
    )
    assert params.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate == 0.3
    assert params.trainer.optimizer_config.warmup.linear.warmup_steps == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task: [1", "own.yaml: is no YAML"),
        ("- a\n- b", "own.yaml: found list; expected a mapping"),
        ("task: {modle: {}}", r"own.yaml: task.modle: unknown key; expected one of .*model"),
        ("trainer: {train_steps: many}", "own.yaml: trainer.train_steps: found 'many'; expected a whole"),
        ("trainer: {train_steps: 1.5}", "trainer.train_steps: found 1.5; expected a whole number"),
        ("trainer: {train_steps: true}", "trainer.train_steps: found True"),
        ("trainer: {train_steps: }", "trainer.train_steps: is empty"),
        ("trainer: 3", "own.yaml: trainer: found 3; expected a mapping of keys"),
        ("trainer: {train_steps: 0}", "own.yaml: trainer.train_steps: found 0; expected a number above 0"),
        ("trainer: {steps_per_loop: -4}", "trainer.steps_per_loop: found -4"),
        ("task: {train_data: {global_batch_size: 0}}", "task.train_data.global_batch_size: found 0"),
        ("task: {model: {input_size: [32, 32]}}", r"task.model.input_size: found \[32, 32\]"),
        ("task: {model: {num_classes: 3}}", "task.evaluation.top_k: found 5; there are 3 classes"),
        ("task: {model: {backbone: {type: resnet}}}", "backbone.type: found 'resnet'"),
    ],
)
def test_wrong_yaml_is_named_by_file_and_key(tmp_path, content, message):
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        configure(str(path))


def test_missing_file_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="no file nowhere/own.yaml; .*mnasnet_fast_testing.yaml"):
        configure("nowhere/own.yaml")


def test_job_of_another_search_space_is_refused():
    flags = TrainerFlags(training_data_path="t", validation_data_path="v", search_space="spinenet")
    with pytest.raises(ConfigError, match="search_space: found 'spinenet'; the job searches 'mnasnet'"):
        experiment.configure(flags, search_space="mnasnet", nas_params_str="{}", devices=Devices())


def test_gpu_configuration_runs_in_float32_on_a_cpu():
    override = "runtime.mixed_precision_dtype=float16,runtime.distribution_strategy=mirrored"
    params = configure(override)
    assert params.runtime.mixed_precision_dtype is None
    assert params.runtime.distribution_strategy == "off"


def test_gpu_trials_use_mixed_precision_by_default():
    params = configure("", Devices(num_gpus=2, found_gpus=2))
    assert params.runtime.mixed_precision_dtype == "float16"
    assert params.runtime.distribution_strategy == "mirrored"
    assert params.runtime.num_gpus == 2
