"""Every error the toolkit raises on purpose.

    SeqloomError                something a user can mend
    ├── UsageError              the call or command line is wrong (exit code 2)
    │   └── RecipeError         a key or value in a recipe, with its line
    ├── DataError               a file, row, column or series is unusable
    │   └── PreflightError      the pre-flight check found problems that stop training
    ├── SavedFileError          a saved file cannot be trusted
    │   ├── ArtefactError       ... a model file (`.seqloom`)
    │   └── CheckpointError     ... a checkpoint directory
    ├── RunDirectoryError       a run directory exists, is missing or cannot be written
    ├── KernelError             a named kernel cannot run here
    ├── StreamingError          a model that reads the future was asked to stream
    ├── LeakError               a forecast moved when the future was changed
    ├── NonFiniteError          a loss or gradient stopped being a number
    └── Interrupted             training was stopped and can be resumed

Messages give the value received, the value expected and the next step.
"""

from __future__ import annotations


class SeqloomError(Exception):
    """Base of all errors that a user can mend; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(SeqloomError):
    """The call or the command line is wrong."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown key, a wrong type or a value out of range."""


class DataError(SeqloomError):
    """A file, row, column or series cannot be used."""


class PreflightError(DataError):
    """The pre-flight check found at least one problem that stops training."""


class SavedFileError(SeqloomError):
    """A saved file is missing, truncated, changed, too new or not ours."""


class ArtefactError(SavedFileError):
    """A model file cannot be trusted."""


class CheckpointError(SavedFileError):
    """No valid checkpoint was found where one is needed."""


class RunDirectoryError(SeqloomError):
    """A run directory exists already, is missing, or cannot be written."""


class KernelError(SeqloomError):
    """A kernel that was named cannot run, and the message says why."""


class StreamingError(SeqloomError):
    """A model that reads the future was asked to stream."""


class LeakError(SeqloomError):
    """A forecast moved when values after its origin were changed."""


class NonFiniteError(SeqloomError):
    """The loss or a gradient became NaN or infinite."""


class Interrupted(SeqloomError):
    """Training was stopped by the user and can be resumed."""

    exit_code = 130
