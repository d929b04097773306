"""Resource names: `searchJobs/{job}/trials/{trial}/tasks/{task}`."""

import re

from nas_shared.errors import InvalidArgument

_JOB = re.compile(r"searchJobs/(\d{1,18})")
_TRIAL = re.compile(_JOB.pattern + r"/trials/([1-9]\d{0,8})")
_TASK = re.compile(_TRIAL.pattern + r"/tasks/(train|measure)")


def job_name(job_id: int) -> str:
    """`searchJobs/{job}`"""
    return f"searchJobs/{job_id}"


def trial_name(job_id: int, trial_number: int) -> str:
    """`searchJobs/{job}/trials/{trial}`"""
    return f"searchJobs/{job_id}/trials/{trial_number}"


def task_name(job_id: int, trial_number: int, task_id: str) -> str:
    """`searchJobs/{job}/trials/{trial}/tasks/{task}`"""
    return f"searchJobs/{job_id}/trials/{trial_number}/tasks/{task_id}"


def parse_job_name(name: str) -> int:
    """The job id of a job's name.

    Raises:
      InvalidArgument: if `name` is no name of a job; so too below.
    """
    match = _JOB.fullmatch(name)
    if match is None:
        raise InvalidArgument(f"name: found {name!r}; expected searchJobs/{{job}} with a numeric job id")
    return int(match[1])


def parse_trial_name(name: str) -> tuple[int, int]:
    """Job id and trial number of a trial's name."""
    match = _TRIAL.fullmatch(name)
    if match is None:
        raise InvalidArgument(f"name: found {name!r}; expected searchJobs/{{job}}/trials/{{trial}}")
    return int(match[1]), int(match[2])


def parse_task_name(name: str) -> tuple[int, int, str]:
    """Job id, trial number and task id of a task's name."""
    match = _TASK.fullmatch(name)
    if match is None:
        raise InvalidArgument(
            f"name: found {name!r}; expected searchJobs/{{job}}/trials/{{trial}}/tasks/{{train|measure}}"
        )
    return int(match[1]), int(match[2]), match[3]
