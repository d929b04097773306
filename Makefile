# The two commands to know: `make demo` and `make test`. Both set everything up by themselves.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# The orchestrator has an environment of its own, without TensorFlow, here as in its container.
ORCHESTRATOR_VENV := .venv-orchestrator
export NAS_ORCHESTRATOR_PYTHON := $(CURDIR)/$(ORCHESTRATOR_VENV)/bin/python
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Without compiled bytecode every worker would take three times as long to import TensorFlow.
unexport PYTHONDONTWRITEBYTECODE

PACKAGES := protos services/shared services/orchestrator services/trainer services/latency_calculator client
ORCHESTRATOR_PACKAGES := protos services/shared services/orchestrator
DEMO_DIR ?= demo
DEMO_TRIALS ?= 12
DEMO_SEED ?= 1
DEMO_LATENCY_MS ?= 5
DEMO_DETECTION_LATENCY_MS ?= 50
LOGDIR ?= $(DEMO_DIR)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-detection tensorboard images test test-fast check format lock protos check-protos bench-orchestrator bench-trainer clean

help: ## Lists the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready $(ORCHESTRATOR_VENV)/.ready ## Makes both environments from the pinned requirements

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else f"found Python {v[0]}.{v[1]} as $(PYTHON); expected 3.11 or 3.12: make PYTHON=/path/to/python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.ready: $(VENV)/.uv requirements/dev.txt $(PACKAGES:=/pyproject.toml)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@touch $@

$(ORCHESTRATOR_VENV)/.ready: $(VENV)/.uv requirements/orchestrator.txt $(ORCHESTRATOR_PACKAGES:=/pyproject.toml)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(ORCHESTRATOR_VENV)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(ORCHESTRATOR_VENV)/bin/python --require-hashes -r requirements/orchestrator.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(ORCHESTRATOR_VENV)/bin/python --no-deps --no-build-isolation $(ORCHESTRATOR_PACKAGES:%=-e %)
	@touch $@

$(DEMO_DIR)/digits/dataset.json: | setup
	$(BIN)/python vertex_nas_cli.py prepare_data --dataset=digits --output_dir=$(DEMO_DIR)/digits

demo: setup $(DEMO_DIR)/digits/dataset.json ## Sets up, prepares data, and runs a search of 12 trials with a latency target
	$(BIN)/python vertex_nas_cli.py search \
	  --job_name=demo --root_output_dir=$(DEMO_DIR) --seed=$(DEMO_SEED) \
	  --use_prebuilt_trainer=True --prebuilt_search_space=mnasnet --nas_target_reward_metric=top_1_accuracy \
	  --max_nas_trial=$(DEMO_TRIALS) --max_parallel_nas_trial=2 --max_failed_nas_trial=3 \
	  --target_device_type=CPU --use_prebuilt_latency_calculator=True \
	  --prebuilt_latency_image_width=32 --prebuilt_latency_image_height=32 \
	  --search_docker_flags params_override=mnasnet_search_cpu.yaml model=classification \
	  training_data_path='$(DEMO_DIR)/digits/train-*' validation_data_path='$(DEMO_DIR)/digits/validation-*' \
	  target_device_latency_ms=$(DEMO_LATENCY_MS)

$(DEMO_DIR)/scenes/dataset.json: | setup
	$(BIN)/python vertex_nas_cli.py prepare_data --dataset=digit_scenes --output_dir=$(DEMO_DIR)/scenes

demo-detection: setup $(DEMO_DIR)/scenes/dataset.json ## A SpineNet search of 4 trials on scenes of digits, and full training of the best
	$(BIN)/python vertex_nas_cli.py search \
	  --job_name=detection --root_output_dir=$(DEMO_DIR) --seed=$(DEMO_SEED) \
	  --use_prebuilt_trainer=True --prebuilt_search_space=spinenet --nas_target_reward_metric=AP \
	  --max_nas_trial=4 --max_parallel_nas_trial=2 --max_failed_nas_trial=3 \
	  --target_device_type=CPU --use_prebuilt_latency_calculator=True \
	  --prebuilt_latency_image_width=128 --prebuilt_latency_image_height=128 \
	  --search_docker_flags params_override=spinenet_search_cpu.yaml model=retinanet \
	  training_data_path='$(DEMO_DIR)/scenes/train-*' validation_data_path='$(DEMO_DIR)/scenes/validation-*' \
	  target_device_latency_ms=$(DEMO_DETECTION_LATENCY_MS) \
	  --train_docker_flags params_override=spinenet_finetune_cpu.yaml model=retinanet \
	  training_data_path='$(DEMO_DIR)/scenes/train-*' validation_data_path='$(DEMO_DIR)/scenes/validation-*' \
	  --train_frequency=4 --train_max_parallel_trial=1

tensorboard: setup ## Curves of every trial below LOGDIR (a job's directory), with its reward
	$(BIN)/python -m nas_trainer.tensorboard --logdir='$(LOGDIR)'

images: setup ## Builds the container images of trainer and latency calculator
	$(BIN)/python vertex_nas_cli.py build \
	  --trainer_docker_id=nas-trainer --latency_calculator_docker_id=nas-latency-calculator \
	  --trainer_docker_file=services/trainer/Dockerfile \
	  --latency_calculator_docker_file=services/latency_calculator/Dockerfile

test: setup check ## Sets up, checks, and runs all tests
	$(BIN)/python -m pytest $(TESTS)

test-fast: setup ## Runs the tests that train nothing
	$(BIN)/python -m pytest -m "not slow" $(TESTS)

check: setup check-protos ## Lints, checks types, and looks for drift of generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy services/shared/src services/orchestrator/src services/trainer/src services/latency_calculator/src client/src

format: setup ## Formats the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: setup ## Generates the code of protos/nas/v1
	$(BIN)/python protos/generate.py protos/gen

check-protos: setup ## Fails when the generated code is not that of the protos
	$(BIN)/python protos/generate.py --check protos/gen

lock: $(VENV)/.uv ## Pins requirements/*.in anew, with hashes
	for name in uv trainer orchestrator latency_calculator client dev; do \
	  (cd requirements && ../$(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 $$name.in -o $$name.txt) || exit 1; \
	done

bench-orchestrator: setup ## Trials per second, gap between tasks, workers held, as JSON
	@$(BIN)/python benchmarks/bench_orchestrator.py

bench-trainer: setup ## A trial against the library's own loop, and warm against cold start, as JSON
	@$(BIN)/python benchmarks/bench_trainer.py

clean: ## Removes the environments and the demo
	rm -rf $(VENV) $(ORCHESTRATOR_VENV) $(DEMO_DIR)
