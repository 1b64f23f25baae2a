import pytest

from models.inference.engine import Engine
from models.settings import ModelSettings


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The shipped classifier without its cache: it classifies every text each time."""
    return Engine.load(ModelSettings(remembered_texts=0))
