"""Every exception that qdebias raises for a reason a user can act on.

QdebiasError
├── SettingError       a value the user chose is impossible (a flag, a parameter, a method's name)
├── ImageError         one image cannot be scored; a run records it and continues
│   └── DamagedImageError  its data is damaged or ends early
├── BackendError       a model cannot be loaded, or answered something that cannot be used
│   ├── OptionError        an answer option has no single token, or two options share one
│   └── PromptError        the chat template trimmed the answer prefix or moved the images
├── StoreError         a run folder cannot be used: another model's, in use, damaged, or its disk is full
└── MissingPackageError    an optional package is needed; the message says what to install

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
    """Return the first line of what an exception of another library says, or its type if it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
