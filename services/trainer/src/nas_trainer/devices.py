"""What a trainer computes on. Set up once, before TensorFlow starts."""

import dataclasses

import tensorflow as tf
from official.common import distribute_utils

from nas_trainer.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Devices:
    """The part of the machine that belongs to this process.

    Attributes:
        num_gpus: GPUs every trial uses; 0 is CPU.
        threads: threads per operation on the CPU.
        found_gpus: GPUs TensorFlow sees on this machine.
        replicas: parts of the CPU that a batch is divided among, each a device of its own; 1 is usual. It
            trains as several GPUs would, and is for trying that without them.
    """

    num_gpus: int = 0
    threads: int = 1
    found_gpus: int = 0
    replicas: int = 1

    @property
    def strategy(self) -> str:
        """Name of the library's distribution strategy.

        None on a CPU, unless it is divided: the others copy batches through an iterator of their own,
        whose tuning thread cannot be switched off and holds up the end of a trial for as long as half of
        its training.
        """
        if max(self.num_gpus, self.replicas) > 1:
            return "mirrored"
        return "one_device" if self.num_gpus else "off"

    def build_strategy(self) -> tf.distribute.Strategy:
        """The distribution strategy of that name."""
        if self.replicas > 1:
            return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(self.replicas)])
        return distribute_utils.get_distribution_strategy(self.strategy, num_gpus=self.num_gpus)


def set_up(*, num_gpus: int, threads: int, replicas: int = 1) -> Devices:
    """Claims devices for this process.

    On a CPU one worker per core with one thread each trains more trials per hour than one worker
    with all cores, hence the default of the callers.

    Args:
        num_gpus: GPUs to use; 0 hides all of them.
        threads: threads per operation (and operations at once) on the CPU; 0 leaves it to TensorFlow.
        replicas: devices that the CPU is divided into; without GPUs only.
    Raises:
        ConfigError: fewer GPUs are there than asked for.
    """
    found = tf.config.list_physical_devices("GPU")
    if num_gpus > len(found):
        raise ConfigError(
            f"num_gpus: {num_gpus} asked for, but TensorFlow finds {len(found)} on this machine"
        )
    if replicas > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    used = found[:num_gpus]
    tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One operation at a time on one thread: a second would only take the core from the first.
    tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 0)
    return Devices(num_gpus=num_gpus, threads=threads, found_gpus=len(found), replicas=replicas)
