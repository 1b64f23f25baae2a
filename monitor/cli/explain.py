"""`monitor explain`: a text with its words coloured by what they did for its label."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from models.inference.engine import Engine
from models.inference.explain import Explanation, Method, explain
from stream.domain.documents import Prediction, printable
from stream.domain.wire import prediction_fields


@dataclass(frozen=True)
class Explained:
    """An explanation, and what the text says of the names that were asked about."""

    explanation: Explanation
    targets: dict[str, Prediction]


def explained(engine: Engine, text: str, task: str, method: Method, names: Sequence[str]) -> Explained:
    """Explain one text; a name that is not in it has an unsupported prediction."""
    at = [text.lower().find(name.lower()) for name in names]
    spans = [
        (start, start + len(name)) if start >= 0 else (0, 0) for start, name in zip(at, names, strict=True)
    ]
    answers = engine.judge_targets(text, spans)
    return Explained(explain(engine, text, task, method), dict(zip(names, answers, strict=True)))


def as_answer(found: Explained) -> dict[str, Any]:
    """As JSON shows it."""
    explanation = found.explanation
    targets = {name: msgspec.to_builtins(prediction_fields(given)) for name, given in found.targets.items()}
    return {
        "text": explanation.text,
        "task": explanation.task,
        "method": explanation.method,
        "prediction": msgspec.to_builtins(prediction_fields(explanation.prediction)),
        "words": msgspec.to_builtins(explanation.words),
        "targets": targets,
    }


def show(found: Explained, console: Console) -> None:
    """In the terminal: green words speak for the label, red ones against it."""
    explanation = found.explanation
    console.print(_headline(explanation), markup=False, highlight=False)
    line, at = Text(), 0
    most = _largest(explanation)
    for span in explanation.words:
        line.append(printable(explanation.text[at : span.start]))
        line.append(printable(explanation.text[span.start : span.end]), _style(span.weight / most))
        at = span.end
    line.append(printable(explanation.text[at:]))
    console.print(line)
    for name, given in found.targets.items():
        said = given.sentiment or "not in the text"
        console.print(f"{printable(name)}: {said}{_probability(given)}", markup=False, highlight=False)


def as_page(found: Explained) -> str:
    """As HTML, all text escaped."""
    explanation = found.explanation
    parts, at = [], 0
    most = _largest(explanation)
    for span in explanation.words:
        parts.append(html.escape(explanation.text[at : span.start]))
        share = span.weight / most
        colour = f"rgba({'0,140,60' if share > 0 else '200,30,30'},{abs(share):.2f})"
        word = html.escape(explanation.text[span.start : span.end])
        parts.append(f'<span style="background:{colour}" title="{span.weight:.4f}">{word}</span>')
        at = span.end
    parts.append(html.escape(explanation.text[at:]))
    targets = "".join(
        f"<li>{html.escape(name)}: {given.sentiment or 'not in the text'}{_probability(given)}</li>"
        for name, given in found.targets.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Explanation</title>'
        '<body style="font:16px/1.7 system-ui,sans-serif;max-width:50rem;margin:2rem auto">'
        f"<p><b>{html.escape(_headline(explanation))}</b></p><p>{''.join(parts)}</p><ul>{targets}</ul>"
        "<p>Green words speak for the label, red ones against it.</p></body></html>\n"
    )


def _headline(explanation: Explanation) -> str:
    label = getattr(explanation.prediction, explanation.task)
    if label is None:
        return f"unsupported ({explanation.prediction.lang or 'no words'})"
    probability = explanation.prediction.probabilities[explanation.task][label]
    sure = "" if explanation.prediction.certain else ", uncertain"
    return f"{explanation.task}: {label} {probability:.2f}{sure} ({explanation.method})"


def _probability(given: Prediction) -> str:
    return f" {max(given.probabilities['sentiment'].values()):.2f}" if given.sentiment else ""


def _largest(explanation: Explanation) -> float:
    return max((abs(span.weight) for span in explanation.words), default=0.0) or 1.0


def _style(share: float) -> str:
    if abs(share) < 0.15:
        return ""
    strength = "bold " if abs(share) > 0.5 else ""
    return strength + ("green" if share > 0 else "red")
