import pytest

from models.engine import Engine
from models.settings import ModelSettings


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The shipped classifier."""
    return Engine.load(ModelSettings())
