"""Gives a trained model heads that tell news from boilerplate, or new ones; nothing else of it changes.

    python -m tools.learn_news_head MODEL [--texts FILE.jsonl ...]

`monitor train` does this for the part that it trains.  The texts are news, the longer the better: a JSON
object with `text`, or `title` and `body`, a line.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from models.inference import language
from models.network import artifact
from models.training.news_head import fit_news_head
from stream.domain.text.cleaning import clean

MOST_TEXTS, SHORTEST = 160, 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    by_language: dict[str | None, list[str]] = {}
    for path in options.texts:
        texts = list(read_texts(path))
        for text in texts[:: max(1, len(texts) // MOST_TEXTS)][:MOST_TEXTS]:
            by_language.setdefault(language.detect(text), []).append(text)
    model = artifact.load(options.model)
    parts = []
    for part in model.parts:
        name = part.info.languages[0]
        texts = by_language.get(name, [])
        head = fit_news_head(part.network, name, texts, max_tokens=part.info.max_tokens)
        parts.append(msgspec.structs.replace(part.info, news_head=head))
        print(f"{name}: {len(head)} numbers, learned with {len(texts)} texts", flush=True)
    info = artifact.save_info(options.model, msgspec.structs.replace(model.info, parts=tuple(parts)))
    card = options.model / "README.md"
    if card.is_file():
        old = card.read_text(encoding="utf-8")
        card.write_text(old.replace(model.info.version, info.version), encoding="utf-8")
    print(info.version)


def read_texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            text = row.get("text") or f"{row.get('title') or ''}\n{row.get('body') or ''}"
            news = clean(text.strip()).news.text
            if len(news) >= SHORTEST:
                yield news


if __name__ == "__main__":
    main()
