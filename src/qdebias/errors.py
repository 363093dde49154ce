"""Every exception that qdebias raises for a reason a user can act on.

Each message says what is wrong, with which value, and what to do.
"""


class QdebiasError(Exception):
    """Base of all errors that are meant to be read by a user."""


class SettingError(QdebiasError, ValueError):
    """A chosen value is impossible."""


class ImageError(QdebiasError, ValueError):
    """An image cannot be scored; the message names the file and the remedy."""


class DamagedImageError(ImageError):
    """The data of an image is damaged or ends early."""


class BackendError(QdebiasError, RuntimeError):
    """A model cannot be loaded or used."""


class OptionError(BackendError):
    """An answer option cannot be read from the logits of one token."""


class PromptError(BackendError):
    """The prompt that the model would see is not the prompt that was requested."""


class StoreError(QdebiasError, RuntimeError):
    """A run folder cannot be used."""


class MissingPackageError(QdebiasError, ImportError):
    """An optional package is absent."""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of another library's exception, or its type if it has no message."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
