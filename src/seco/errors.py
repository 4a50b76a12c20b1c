"""The error tree. A message says what was wrong, the value, the limit, and what to do next."""

from __future__ import annotations


class SecoError(Exception):
    """Any error that a user can mend. The command line prints it as one line and exits with 2."""


class ConfigError(SecoError):
    """A setting is unknown, of the wrong type, or out of range."""


class CatalogError(SecoError):
    """A catalogue cannot be searched or answers what it should not."""


class FetchError(SecoError):
    """Pixels or files cannot be had from where they should be."""


class DatasetError(SecoError):
    """A dataset, or imagery to make one of, is missing, damaged or unsuitable."""


class CheckpointError(SecoError):
    """A checkpoint or weights cannot be loaded, or do not fit."""


class TaskError(SecoError):
    """A task cannot be run on this encoder or these data."""


class TrainingError(SecoError):
    """Training cannot go on (a loss that is not finite)."""


class LostProcessError(SecoError):
    """Another process of a run on many is gone, or does not answer."""
