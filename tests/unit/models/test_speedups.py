"""What makes the classifier fast changes nothing that it says: packing, choosing a backend, repeats."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry
from torch.nn import functional
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from models import backend_selection
from models.backends import packed as packed_encoder
from models.backends.native import encoders
from models.backends.packed import ROW_COUNTS, PackedEncoder, pack_rows, round_up
from models.inference.cache import PredictionCache
from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.settings import ModelSettings
from stream.domain.documents import Prediction

HEADLINES = [
    f"{name} {what} {why}"
    for name in ("Alderbrook Foods", "Brightmoor Energy", "Kestrel Bank", "奥尔德布鲁克食品")
    for what in ("shares plunge 20%", "posts record profit", "names a new chief executive")
    for why in ("", "after a profit warning", "as oil climbs and the central bank holds its rates " * 3)
]


def _encoder(kind: Any, config: Any, **more: Any) -> Any:
    torch.manual_seed(7)
    return kind(
        config(
            vocab_size=90, hidden_size=48, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=96, max_position_embeddings=200, **more,
        )
    ).eval()  # fmt: skip


def _one_by_one(query: Any, key: Any, value: Any, ends: Any, same: Any, most: int, again: int) -> Any:
    """What the GPU's kernel computes."""
    assert ends is same and ends.dtype == torch.int32 and most == again == int(ends.diff().max())
    assert ends[0] == 0 and ends[-1] == len(query)
    parts = [tensor.tensor_split(ends[1:-1].tolist()) for tensor in (query, key, value)]
    found = [
        functional.scaled_dot_product_attention(*(part.transpose(0, 1) for part in text))
        for text in zip(*parts, strict=True)
        if len(text[0])
    ]
    return torch.cat([context.transpose(0, 1) for context in found])


def _by_text(packed: Any) -> Any:
    return packed.last_hidden_state[packed.slots]


@pytest.mark.parametrize(
    "encoder",
    [
        _encoder(BertModel, BertConfig),
        _encoder(BertModel, BertConfig, hidden_act="gelu_new"),
        _encoder(RobertaModel, RobertaConfig, pad_token_id=1),
    ],
    ids=["BERT", "BERT with another activation", "RoBERTa"],
)
@pytest.mark.parametrize("lengths", [[5, 1, 64, 33, 33, 0, 12], [70, 3], [1], [150, 129, 2], [0]])
@pytest.mark.parametrize("concatenated", [False, True])
def test_packed_texts_get_the_vectors_they_get_alone(
    encoder: Any, lengths: list[int], concatenated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_encoder, "varlen_attn", _one_by_one)
    ids = torch.full((len(lengths), max(lengths) + 2), encoder.config.pad_token_id)
    attend = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 89, (length,))
        attend[row, :length] = 1
    packed = PackedEncoder(encoder, torch.device("cpu"), torch.float32)
    assert not packed.concatenates  # which a GPU alone can
    packed.concatenates = concatenated
    with torch.inference_mode():
        wanted = encoder(input_ids=ids, attention_mask=attend).last_hidden_state[attend.bool()]
        given = _by_text(packed(input_ids=ids, attention_mask=attend))[attend.bool()]
    assert torch.allclose(given, wanted, atol=1e-4)


def test_a_text_does_not_see_its_neighbours_in_the_row() -> None:
    encoder = _encoder(BertModel, BertConfig)
    packed = PackedEncoder(encoder, torch.device("cpu"), torch.float32)
    ids = torch.randint(5, 89, (3, 20))
    other = ids.clone()
    other[1:] = torch.randint(5, 89, (2, 20))
    attend = torch.ones_like(ids)
    with torch.inference_mode():
        one, two = (_by_text(packed(some, attend))[0] for some in (ids, other))
    assert torch.equal(one, two)


def test_an_unknown_architecture_is_left_to_itself() -> None:
    assert PackedEncoder.supports(_encoder(BertModel, BertConfig))
    assert not PackedEncoder.supports(_encoder(BertModel, BertConfig, is_decoder=True))
    assert not PackedEncoder.supports(_Other())


class _Other(torch.nn.Module):
    config = BertConfig()


def test_rows_are_filled_and_no_text_is_torn() -> None:
    lengths = [18] * 70 + [9] * 40 + [30, 64, 1, 0]
    layout = pack_rows(lengths, max_width=512)
    spans = sorted((start, start + n) for start, n in zip(layout.starts, lengths, strict=True) if n)
    assert layout.width == 64
    assert all(start // 64 == (end - 1) // 64 for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert layout.rows * 64 < sum(lengths) * 1.05 + 64
    with pytest.raises(ValueError, match="does not fit"):
        pack_rows([513], max_width=512)


def test_few_sizes_are_used_and_none_is_much_larger_than_asked() -> None:
    assert [round_up(n) for n in (1, 7, 9, 17, 33)] == [1, 7, 9, 18, 36]
    assert all(round_up(n) <= n * 1.125 + 1 for n in range(1, 5000))
    assert len([step for step in ROW_COUNTS if step < 5000]) < 100


def test_packed_and_plain_give_the_same_labels(engine: Engine) -> None:
    assert engine.settings.backend == "auto"
    plain = Engine.load(ModelSettings(backend="torch", dtype="float32", remembered_texts=0))
    wanted, given = plain.classify(HEADLINES), engine.classify(HEADLINES)
    assert all(map(backend_selection.same_labels, wanted, given))
    for a, b in zip(wanted, given, strict=True):
        assert a.score == pytest.approx(b.score, abs=0.05)
        assert (a.lang, a.windows, a.truncated) == (b.lang, b.windows, b.truncated)


def test_a_backend_is_measured_once_and_then_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend_selection.cached_backend(ModelSettings(), tmp_path).backend == "auto", (
        "nothing was measured yet"
    )
    chosen = backend_selection.select_backend(ModelSettings(), tmp_path)
    assert chosen.backend in ("amx", "int8", "packed", "torch")
    (file,) = tmp_path.rglob("*.json")
    assert '"packed' in file.read_text()
    monkeypatch.setattr(backend_selection, "measure", lambda settings: pytest.fail("measured again"))
    assert backend_selection.select_backend(ModelSettings(), tmp_path) == chosen
    assert backend_selection.cached_backend(ModelSettings(), tmp_path) == chosen
    assert backend_selection.select_backend(ModelSettings(backend="torch"), tmp_path).dtype == "auto"


def test_a_damaged_memory_of_the_choice_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings()
    told = backend_selection.Choice("torch", "float32", {})
    monkeypatch.setattr(backend_selection, "measure", lambda settings: told)
    backend_selection.select_backend(settings, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    assert backend_selection.select_backend(settings, tmp_path).backend == "torch"
    assert file.read_text() != "{"


def test_a_backend_whose_labels_differ_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(self: PackedEncoder, *given: Any) -> Any:
        return -sound(self, *given)

    sound = PackedEncoder.encode
    monkeypatch.setattr(Engine, "check_canaries", lambda self: None)
    monkeypatch.setattr(PackedEncoder, "encode", turned)
    monkeypatch.setattr(encoders, "library", lambda backend: None)  # elsewhere it would be the next in line
    choice = backend_selection.measure(ModelSettings())
    assert choice.backend == "torch"
    assert min(choice.tried.values()) == 0.0
    assert {name.split()[0] for name, rate in choice.tried.items() if rate == 0.0} == {"packed"}


def test_a_repeated_text_is_judged_once() -> None:
    registry = CollectorRegistry()
    engine = Engine.load(ModelSettings(), ModelMetrics(registry))

    def judged(by: str) -> float | None:
        return registry.get_sample_value("sentiment_inference_texts_total", {"by": by})

    texts = [HEADLINES[0], HEADLINES[1], HEADLINES[0]]
    first = engine.classify(texts)
    assert first[0] == first[2] != first[1]
    assert (judged("network"), judged("memory")) == (2, 1)
    assert engine.classify(list(reversed(texts))) == list(reversed(first))
    assert (judged("network"), judged("memory")) == (2, 4)
    (claimed,) = engine.classify([HEADLINES[0]], ["fr"])
    assert claimed.sentiment is None, "another claim is another question"


def test_the_memory_for_repeats_is_bounded_and_forgets_the_oldest() -> None:
    cache = PredictionCache(2)
    keys = [PredictionCache.key(text, None) for text in ("a", "b", "c", "\udc80")]
    for version, key in enumerate(keys[:2]):
        cache.add({key: Prediction(model=str(version), lang=None)})
    assert cache.get([keys[0]])
    cache.add({keys[2]: Prediction(model="2", lang=None)})
    assert cache.get(keys).keys() == {keys[0], keys[2]}
