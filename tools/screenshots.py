"""The pictures of the desk's pages in the documentation: `python -m tools.screenshots [FOLDER]`.

It fills a database with a day of the invented market, as the browser tests do, serves it, and takes a picture
of six pages, light or dark.  They are PNG files with few colours, so that none is above 150 kB.  It needs
Chromium and a font with Chinese characters.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.browser.addresses import addresses
from tests.browser.chromium import Scheme, Visitor, chromium
from tests.browser.newsroom import Newsroom
from tests.browser.predictions import InventedLabels
from tests.browser.site import desk_of
from tests.desk_parts import new_store, serving

FOLDER = Path(__file__).parents[1] / "docs" / "images"
LARGEST = 150_000
# Numbers of colours: the most that is small enough is taken.
COLOURS = (256, 128, 64, 32)
WIDTH, HEIGHT, PHONE = 1280, 900, 390


@dataclass(frozen=True)
class Picture:
    """A picture of a page: the name of its file, and of the page as in `addresses`."""

    name: str
    page: str
    scheme: Scheme = "light"
    width: int = WIDTH


PICTURES = (
    Picture("desk_overview", "overview"),
    Picture("desk_incident", "incident"),
    Picture("desk_entity", "entity", "dark"),
    Picture("desk_story", "story"),
    Picture("desk_text", "text", "dark"),
    Picture("desk_phone", "incidents", "dark", PHONE),
)


@contextmanager
def filled_newsroom() -> Iterator[Newsroom]:
    """A newsroom after its day."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = new_store(folder)
        newsroom = Newsroom(store, folder, InventedLabels(), datetime.now(UTC))
        newsroom.day()
        yield newsroom
        store.engine.dispose()


def take(folder: Path) -> None:
    """Write the pictures into the folder."""
    with filled_newsroom() as newsroom, serving(desk_of(newsroom)) as url, chromium() as browser:
        paths = addresses(newsroom)
        for picture in PICTURES:
            visitor = Visitor.of(browser, url, width=picture.width, scheme=picture.scheme, height=HEIGHT)
            visitor.visit(paths[picture.page])
            image = small(visitor.page.screenshot())
            (folder / f"{picture.name}.png").write_bytes(image)
            print(f"{picture.name}.png: {len(image):,} bytes, of {paths[picture.page]}")
            visitor.close()


def small(png: bytes) -> bytes:
    """The picture in as many colours as fit into LARGEST bytes.  Raises ValueError if none do."""
    image = Image.open(BytesIO(png)).convert("RGB")
    for colours in COLOURS:
        out = BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= LARGEST:
            return out.getvalue()
    raise ValueError(f"the picture is above {LARGEST} bytes even in {COLOURS[-1]} colours")


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
