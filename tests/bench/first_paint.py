"""When the desk's pages paint first, and what they weigh: a first visit of each, by a browser without a cache.

    .venv/bin/python -m tests.bench.first_paint [--visits 5]

Over the database of an invented day, on this machine's Chromium and loopback.
"""

import argparse
from statistics import median

from tests.browser.addresses import addresses
from tests.browser.chromium import Visitor, chromium
from tests.browser.site import desk_of
from tests.desk_parts import serving
from tools.screenshots import filled_newsroom

PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--visits", type=int, default=5, help="visits of each page")
    visits = parser.parse_args().visits
    with filled_newsroom() as newsroom, serving(desk_of(newsroom)) as url, chromium() as browser:
        for name, path in addresses(newsroom).items():
            paints, weight = list[float](), 0
            for _ in range(visits):
                visitor = Visitor.of(browser, url)
                weight = visitor.weigh(path)
                paints.append(float(visitor.page.evaluate(PAINT)))
                visitor.close()
            line = f"{name:12} median {median(paints):5.0f} ms  longest {max(paints):5.0f} ms  {weight / 1000:5.1f} kB"
            print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
