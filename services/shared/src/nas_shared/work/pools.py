"""Which workers may claim the training of a trial: one word that a task carries and a worker offers."""


def train_pool(accelerator_type: str, *, has_program: bool) -> str:
    """The `device_type` of a TRAIN task, and of the worker that claims it.

    Args:
      accelerator_type: what a trial needs; empty: CPU.
      has_program: whether the trainer is the user's own, which a program runner starts.
    Returns:
      The accelerator for the prebuilt trainer; for a program `program`, or `program:` and the
      accelerator.
    """
    if not has_program:
        return accelerator_type
    return f"program:{accelerator_type}" if accelerator_type else "program"
