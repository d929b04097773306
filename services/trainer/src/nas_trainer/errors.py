"""What can be wrong with a trial, in the words of the person who can mend it."""


class ConfigError(ValueError):
    """A flag or a configuration is wrong, for every trial of the job.

    Repeating the work does not help; a person must mend the job. The message names the flag or
    the file and key, what was found and what was expected.
    """


class ModelError(ValueError):
    """This architecture cannot be built or trained with this configuration; another one may."""


class NanLoss(ArithmeticError):
    """The loss is no number any more. The same trial would end the same way."""


class DiskFull(OSError):
    """There is no room for a file. The work can be repeated once there is; names the directory."""
