"""The events that texts report: the head, the rows that teach it, and the predictions."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from models.data.augmentation_sets import EVENT_TYPES, written_sentences
from models.data.dataset import read_rows
from models.errors import DataError
from models.evaluation.events import event_report
from models.inference.engine import Engine
from models.network import artifact
from models.network.classifier import EventHead, Hidden
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS, ModelSettings

THRESHOLDS = {"default": 0.5, "recall": 0.25, "strike": 0.9}


def hidden(texts: int, tokens: int, packed: bool) -> Hidden:
    """Random vectors of texts, the last of which has one word only; packed in reverse order of the slots."""
    vectors = torch.randn(texts, tokens, 8, generator=torch.Generator().manual_seed(1))
    words = torch.ones(texts, tokens, dtype=torch.bool)
    words[-1, 1:] = False
    if not packed:
        return Hidden(vectors, words, words)
    slots = torch.arange(texts * tokens).flip(0).view(texts, tokens)
    return Hidden(vectors.view(-1, 8).flip(0), words, words, slots)


def test_each_type_of_event_has_its_own_attention_over_the_words_of_a_text() -> None:
    head = EventHead(8, types=3).eval()
    given = hidden(2, 4, packed=False)
    scores, votes = given.vectors @ head.query.weight.T, given.vectors @ head.output.weight.T
    expected = (torch.softmax(scores, dim=1) * votes).sum(1) + head.output.bias
    torch.testing.assert_close(head(given)[0], expected[0])
    torch.testing.assert_close(head(given)[1], votes[1, 0] + head.output.bias)


def test_packed_vectors_give_the_same_events() -> None:
    head = EventHead(8, types=3).eval()
    torch.testing.assert_close(head(hidden(3, 5, packed=True)), head(hidden(3, 5, packed=False)))


def test_rows_name_the_events_that_their_text_reports(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"text": "a", "events": ["default", "recall", "default"]},
        {"text": "b", "events": "default; strike"},
        {"text": "c", "events": []},
        {"text": "d", "events": None, "sentiment": "positive"},
        {"text": "e"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert [row.events for row in read_rows([file])] == [
        ("default", "recall"),
        ("default", "strike"),
        (),
        None,
    ]
    file.write_text(json.dumps({"text": "a", "events": {"default": 1}}))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: events must be a list of names"):
        read_rows([file])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_type_of_event_has_written_sentences_and_some_report_none(language: str) -> None:
    events = [sentence.events for sentence in written_sentences(language) if sentence.events is not None]
    assert {name for names in events for name in names} == set(EVENT_TYPES)
    assert events.count(()) > 100


@pytest.fixture
def with_events(tmp_path: Path) -> Path:
    """The shipped English part with an untrained head for three types of events."""
    info = read_info(SHIPPED_WEIGHTS)
    shutil.copytree(SHIPPED_WEIGHTS / "en", tmp_path / "en")
    head = EventHead(384, types=3)
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.bias.copy_(torch.tensor([1.0, -1.0, 2.0]))
    part = artifact.replace_head(tmp_path, info.parts[0], "events", head)
    part = msgspec.structs.replace(part, event_thresholds=THRESHOLDS)
    artifact.save_info(tmp_path, msgspec.structs.replace(info, parts=(part,)))
    return tmp_path


def test_a_prediction_has_the_events_above_the_threshold_of_their_type(with_events: Path) -> None:
    engine = Engine.load(ModelSettings(weights=with_events))
    assert engine.info.event_types == ("default", "recall", "strike")
    events = engine.classify(["Shares of the maker rise", "Terms of use apply."])[0].events
    assert [(event.type, round(event.probability, 2)) for event in events] == [
        ("default", 0.73),
        ("recall", 0.27),
    ]


def test_a_model_without_a_head_for_events_reports_none(engine: Engine) -> None:
    if engine.info.event_types:
        pytest.skip("the shipped model looks for events")
    assert engine.classify(["Northgate defaults on its bonds"])[0].events == ()


def test_events_are_scored_by_type_over_the_rows_that_name_them() -> None:
    reported = [{"default"}, {"default", "recall"}, {"recall"}, set(), set()]
    found = [{"default"}, {"default"}, {"default", "fine"}, {"fine"}, set()]
    report = event_report(reported, found)
    assert (report.n, report.quiet) == (5, 0.5)
    scores = {one.label: (one.precision, one.recall, one.support) for one in report.types}
    assert scores == {"default": (2 / 3, 1, 2), "fine": (0, 0, 0), "recall": (0, 0, 2)}
    assert report.macro_f1 == pytest.approx((0.8 + 0) / 2)
    low, high = report.macro_f1_interval
    assert low <= report.macro_f1 <= high


def test_other_thresholds_are_another_version_of_the_model(with_events: Path) -> None:
    info = read_info(with_events)
    part = msgspec.structs.replace(info.parts[0], event_thresholds=THRESHOLDS | {"default": 0.6})
    changed = artifact.save_info(with_events, msgspec.structs.replace(info, parts=(part,)))
    assert changed.version != info.version
