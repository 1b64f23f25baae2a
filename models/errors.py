"""What can go wrong in the models room.

ModelError
├── WeightsError      the weights folder is missing, damaged, or not what it says
├── DataError         a labelled file cannot be used; names file and line
└── InferenceError    a forward pass gave no usable answer for some text of the batch
"""


class ModelError(Exception):
    """Base of everything this room raises on purpose."""


class WeightsError(ModelError):
    pass


class DataError(ModelError):
    pass


class InferenceError(ModelError):
    pass
