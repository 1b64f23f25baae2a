"""Errors of the `models` package.

ModelError
├── WeightsError      the weights folder is missing, damaged, or not what it says
├── DataError         a labelled file cannot be used; names file and line
└── GazetteerError    a house's file of entities cannot be used; names file, line and entry

If the network's output cannot be used, `stream.domain.errors.InferenceError` is raised, which callers know.
"""


class ModelError(Exception):
    """Base class of the errors of this package."""


class WeightsError(ModelError):
    pass


class DataError(ModelError):
    pass


class GazetteerError(ModelError):
    pass
