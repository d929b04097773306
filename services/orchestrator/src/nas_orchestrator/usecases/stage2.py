"""Which trial stage 2 trains next."""

from collections.abc import Iterator

from nas_orchestrator.domain.job import Job
from nas_orchestrator.domain.names import parse_trial_name
from nas_orchestrator.domain.trial import Stage, Trial, TrialState
from nas_orchestrator.usecases.store import Transaction
from nas_shared import search_spaces

_PAGE = 50


def next_to_train(tx: Transaction, job: Job) -> Trial | None:
    """The next of the trials the job was asked to train, or the best network that was not trained yet.

    Two encodings may be one network, which is trained once. A training that was cancelled counts as none.

    Returns:
      A succeeded search trial; None when none is left.
    Raises:
      SearchSpaceError: if the search space cannot be loaded any more.
    """
    assert job.spec.train_stage is not None
    trained = tx.trained_architectures(job.id)
    if job.spec.train_stage.trials:
        names = {source for source, _ in trained}
        chosen = next((name for name in job.spec.train_stage.trials if name not in names), None)
        return None if chosen is None else tx.trial(*parse_trial_name(chosen))
    identity = search_spaces.load(job.spec.search_space).identity
    networks = {identity(nas_params_str) for _, nas_params_str in trained}
    return next(
        (trial for trial in _best_first(tx, job) if identity(trial.nas_params_str) not in networks), None
    )


def _best_first(tx: Transaction, job: Job) -> Iterator[Trial]:
    offset = 0
    while page := tx.list_trials(job.id, best_first=True, offset=offset, limit=_PAGE):
        for trial in page:
            # Those of the search that succeeded come before all others.
            if trial.stage is not Stage.SEARCH or trial.state is not TrialState.SUCCEEDED:
                return
            yield trial
        offset += _PAGE
