import pytest

from models.inference.engine import Engine
from models.settings import ModelSettings


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The shipped classifier; it judges every text anew."""
    return Engine.load(ModelSettings(remembered_texts=0))
