"""What can go wrong in the models room.

ModelError
├── WeightsError      the weights folder is missing, damaged, or not what it says
└── DataError         a labelled file cannot be used; names file and line

An answer that cannot be used is an InferenceError of `stream.domain.errors`, which its callers know.
"""


class ModelError(Exception):
    """Base of everything this room raises on purpose."""


class WeightsError(ModelError):
    pass


class DataError(ModelError):
    pass
