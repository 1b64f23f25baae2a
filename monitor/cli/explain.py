"""`monitor explain`: why a text gets its label, word by word, and the sentiment towards names in it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from monitor.cli.classify import entity_text
from monitor.cli.options import (
    OutputFile,
    TextCommand,
    config_option,
    examples,
    json_option,
    load_settings,
    plain_errors,
)
from monitor.web.rendering import render
from stream.domain.documents import Prediction, TextInput, printable
from stream.domain.text.cleaning import clean
from stream.domain.wire import entity_fields, prediction_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.document_classifier import DocumentClassifier
    from models.inference.explain import Explanation, Method
    from stream.domain.documents import Span

NOT_IN_TEXT = "not in the text"
# A letter or digit that continues a word; Chinese characters do not.
LATIN = "[0-9A-Za-z\u00c0-\u024f]"
# Shares of the largest weight: words below FAINT are shown without colour, words above STRONG in bold.
FAINT, STRONG = 0.15, 0.5


@dataclass(frozen=True)
class NamedTarget:
    """The sentiment towards one name, or the reason why there is none."""

    name: str
    prediction: Prediction
    error: str | None = None

    def __str__(self) -> str:
        if self.error:
            return f"{self.name}: no label: {self.error}"
        if not self.prediction.sentiment:
            return f"{self.name}: {NOT_IN_TEXT}"
        probability = max(self.prediction.probabilities["sentiment"].values())
        return f"{self.name}: {self.prediction.sentiment} {probability:.2f}"

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(prediction_fields(self.prediction))
        for of_text in ("entities", "gazetteer", "events"):
            del fields[of_text]
        return fields | {"error": self.error} if self.error else fields


@dataclass(frozen=True)
class ExplanationWithTargets:
    """The explanation of a text's label, with its entities, and the sentiment towards the requested names."""

    explanation: Explanation
    targets: tuple[NamedTarget, ...]

    @property
    def headline(self) -> str:
        """The label, its probability and the method."""
        explanation = self.explanation
        label = getattr(explanation.prediction, explanation.task)
        if label is None:
            return f"unsupported ({explanation.prediction.lang or 'no words'})"
        probability = explanation.prediction.probabilities[explanation.task][label]
        uncertain = "" if explanation.prediction.certain else ", uncertain"
        return f"{explanation.task}: {label} {probability:.2f}{uncertain} ({explanation.method})"

    @property
    def entities(self) -> list[str]:
        """A line for each entity of the text."""
        return [entity_text(entity_fields(mention)) for mention in self.explanation.prediction.entities]

    def pieces(self) -> Iterator[tuple[str, Span | None, float]]:
        """The text in pieces: (text, its word or None between words, weight from -1 to 1)."""
        text, words, end = self.explanation.text, self.explanation.words, 0
        largest = max((abs(word.weight) for word in words), default=0.0) or 1.0
        for word in words:
            yield text[end : word.start], None, 0.0
            yield text[word.start : word.end], word, word.weight / largest
            end = word.end
        yield text[end:], None, 0.0

    def lines(self) -> Iterator[str]:
        """The words with their weights, and what happens to the label without each of them."""
        weights = [(piece, weight) for piece, word, weight in self.pieces() if word and weight]
        strongest = sorted(weights, key=lambda item: -abs(item[1]))
        yield f"weights: {', '.join(f'{piece} {weight:+.2f}' for piece, weight in strongest) or 'none'}"
        if self.explanation.removed:
            falls = (f"{effect.text} {-effect.fall:+.2f}" for effect in self.explanation.removed)
            yield f"change without the word: {', '.join(falls)}"

    def as_dict(self) -> dict[str, Any]:
        explanation = self.explanation
        return {
            "text": explanation.text,
            "task": explanation.task,
            "method": explanation.method,
            "prediction": msgspec.to_builtins(prediction_fields(explanation.prediction)),
            "words": msgspec.to_builtins(explanation.words),
            "removed": [asdict(effect) for effect in explanation.removed],
            "targets": {target.name: target.as_dict() for target in self.targets},
        }


def explain_with_targets(
    classifier: DocumentClassifier, text: str, task: str, method: Method, names: Sequence[str]
) -> ExplanationWithTargets:
    """Explain one text; a name that is not in it has an unsupported prediction."""
    engine = classifier.engine
    cleaned = clean(text)
    found = [find_name(cleaned.text, clean(name).text) for name in names]
    spans = [cleaned.sent_span(*span) if span else (0, 0) for span in found]
    predictions = engine.classify_targets(text, spans)
    targets = [
        NamedTarget(name, prediction, engine.info.target_sentiment_error(prediction.lang))
        for name, prediction in zip(names, predictions, strict=True)
    ]
    return ExplanationWithTargets(classifier.explain(TextInput(text), task, method), tuple(targets))


def find_name(text: str, name: str) -> tuple[int, int] | None:
    """Where the name stands in the text as a whole word: "Ford" is not in "Affordable"."""
    before, after = (f"(?<!{LATIN})", f"(?!{LATIN})")
    found = re.search(f"{before}{re.escape(name)}{after}", text, re.IGNORECASE) if name else None
    return found.span() if found else None


def print_explanation(explanation: ExplanationWithTargets, console: Console) -> None:
    """Print the text with coloured words: green ones support the label, red ones contradict it.

    The weights follow in a line of their own, and how the probability changes without each of the words.
    """
    console.print(explanation.headline, markup=False, highlight=False)
    line = Text()
    for piece, _, weight in explanation.pieces():
        line.append(printable(piece), _style(weight))
    console.print(line, soft_wrap=True)
    for name in (*explanation.lines(), *explanation.entities, *map(str, explanation.targets)):
        console.print(printable(name), markup=False, highlight=False, soft_wrap=True)


def as_html(explanation: ExplanationWithTargets) -> str:
    """The explanation as an HTML page; all text is escaped."""
    return render("explain.html", explanation=explanation)


def _style(weight: float) -> str:
    if abs(weight) < FAINT:
        return ""
    return ("bold " if abs(weight) > STRONG else "") + ("green" if weight > 0 else "red")


@click.command(
    cls=TextCommand,
    epilog=examples(
        'monitor explain "Profit falls at Acme as costs rise"',
        'monitor explain --method integrated --html why.html "Loss narrows"',
        'monitor explain --target Nokia "Apple soars as Nokia plunges"',
    ),
)
@click.argument("text")
@config_option
@click.option("--task", type=click.Choice(["sentiment", "topic"]), default="sentiment", show_default=True)
@click.option(
    "--method",
    type=click.Choice(["attention", "gradient", "integrated"]),
    default="integrated",
    show_default=True,
    help="How words are weighted.",
)
@click.option("--target", "targets", multiple=True, help="A name in the text: show the sentiment towards it.")
@click.option("--html", "html_file", type=OutputFile(), help="Also write an HTML page.")
@json_option
@plain_errors
def explain(
    text: str,
    config: Path | None,
    task: str,
    method: Method,
    targets: tuple[str, ...],
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Explain the label of a text: a weight for each word, its entities, and the sentiment towards names."""
    settings = load_settings(config)
    from models.backend_selection import cached_backend
    from models.document_classifier import DocumentClassifier
    from models.loading import with_fixed_mode

    # Gradients need PyTorch, which is too slow to say which texts the second opinion labels.
    fixed = with_fixed_mode(settings.models, cached_backend)
    classifier = DocumentClassifier.load(fixed.model_copy(update={"backend": "torch"}))
    explanation = explain_with_targets(classifier, text, task, method, targets)
    if html_file is not None:
        html_file.write_text(as_html(explanation), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(explanation.as_dict(), ensure_ascii=False))
    else:
        print_explanation(explanation, Console())
