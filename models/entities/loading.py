"""The linker, built beside something else that takes long to load."""

from concurrent.futures import Future, ThreadPoolExecutor

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from models.settings import ModelSettings


def load_linker(settings: ModelSettings) -> Linker:
    """The linker to the entities of the settings, ready for its first text.  Raises GazetteerError."""
    linker = Linker(Gazetteer.load(settings.entities))
    linker.load()
    return linker


def load_in_background(settings: ModelSettings) -> Future[Linker]:
    """`load_linker` on a thread of its own, while libraries and the network are loaded."""
    pool = ThreadPoolExecutor(1, "entities")
    loading = pool.submit(load_linker, settings)
    pool.shutdown(wait=False)
    return loading
