"""Packing, the choice of a backend and the prediction cache change the speed but not the labels."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry
from torch.nn import functional
from torch.nn.attention import varlen
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from models import backend_selection
from models.backends.native import encoders
from models.backends.packed import ROW_COUNTS, PackedEncoder, pack_rows, round_up
from models.inference.cache import PredictionCache
from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.inference.tokenize import CleanInput
from models.settings import ModelSettings
from stream.domain.documents import Prediction

HEADLINES = [
    f"{name} {event} {context}"
    for name in ("Alderbrook Foods", "Brightmoor Energy", "Kestrel Bank", "奥尔德布鲁克食品")
    for event in ("shares plunge 20%", "posts record profit", "names a new chief executive")
    for context in ("", "after a profit warning", "as oil climbs and the central bank holds its rates " * 3)
]


def random_encoder(model_class: Any, config_class: Any, **options: Any) -> Any:
    torch.manual_seed(7)
    config = config_class(
        vocab_size=90,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        max_position_embeddings=200,
        **options,
    )
    encoder = model_class(config).eval()
    if model_class is MPNetModel:  # large enough that a wrong bias shows
        torch.nn.init.normal_(encoder.encoder.relative_attention_bias.weight)
    return encoder


def attention_by_text(
    query: Any, key: Any, value: Any, query_bounds: Any, key_bounds: Any, *longest: int
) -> Any:
    """What the GPU's kernel computes: attention within each of several concatenated texts."""
    assert query_bounds is key_bounds and query_bounds.dtype == torch.int32
    assert longest == (int(query_bounds.diff().max()),) * 2
    assert query_bounds[0] == 0 and query_bounds[-1] == len(query)
    parts = [tensor.tensor_split(query_bounds[1:-1].tolist()) for tensor in (query, key, value)]
    contexts = [
        functional.scaled_dot_product_attention(*(part.transpose(0, 1) for part in text))
        for text in zip(*parts, strict=True)
        if len(text[0])
    ]
    return torch.cat([context.transpose(0, 1) for context in contexts])


def vectors_by_text(packed: Any) -> Any:
    return packed.last_hidden_state[packed.slots]


@pytest.mark.parametrize(
    "encoder",
    [
        random_encoder(BertModel, BertConfig),
        random_encoder(BertModel, BertConfig, hidden_act="gelu_new"),
        random_encoder(RobertaModel, RobertaConfig, pad_token_id=1),
        random_encoder(MPNetModel, MPNetConfig),
    ],
    ids=["BERT", "BERT with another activation", "RoBERTa", "MPNet"],
)
@pytest.mark.parametrize("lengths", [[5, 1, 64, 33, 33, 0, 12], [70, 3], [1], [150, 129, 2], [0]])
@pytest.mark.parametrize("concatenated", [False, True])
def test_packed_texts_get_the_same_vectors_as_in_the_plain_encoder(
    encoder: Any, lengths: list[int], concatenated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", attention_by_text)
    ids = torch.full((len(lengths), max(lengths) + 2), encoder.config.pad_token_id)
    attend = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 89, (length,))
        attend[row, :length] = 1
    packed = PackedEncoder(encoder, torch.device("cpu"), torch.float32)
    assert not packed.concatenates  # only a GPU can
    if concatenated and packed.bias is not None:
        pytest.skip("kernels for texts of unequal length add no bias")
    packed.concatenates = concatenated
    with torch.inference_mode():
        expected = encoder(input_ids=ids, attention_mask=attend).last_hidden_state[attend.bool()]
        actual = vectors_by_text(packed(input_ids=ids, attention_mask=attend))[attend.bool()]
    assert torch.allclose(actual, expected, atol=1e-4)


def test_the_vectors_of_a_text_do_not_depend_on_its_neighbours_in_the_row() -> None:
    encoder = random_encoder(BertModel, BertConfig)
    packed = PackedEncoder(encoder, torch.device("cpu"), torch.float32)
    ids = torch.randint(5, 89, (3, 20))
    other_neighbours = ids.clone()
    other_neighbours[1:] = torch.randint(5, 89, (2, 20))
    attend = torch.ones_like(ids)
    with torch.inference_mode():
        before, after = (vectors_by_text(packed(batch, attend))[0] for batch in (ids, other_neighbours))
    assert torch.equal(before, after)


def test_the_packed_encoder_supports_only_bert_like_encoders() -> None:
    assert PackedEncoder.supports(random_encoder(BertModel, BertConfig))
    assert not PackedEncoder.supports(random_encoder(BertModel, BertConfig, is_decoder=True))
    assert not PackedEncoder.supports(OtherArchitecture())


class OtherArchitecture(torch.nn.Module):
    config = BertConfig()


def test_rows_are_filled_and_no_text_is_split_between_rows() -> None:
    lengths = [18] * 70 + [9] * 40 + [30, 64, 1, 0]
    layout = pack_rows(lengths, max_width=512)
    spans = sorted((start, start + n) for start, n in zip(layout.starts, lengths, strict=True) if n)
    assert layout.width == 64
    assert all(start // 64 == (end - 1) // 64 for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert layout.rows * 64 < sum(lengths) * 1.05 + 64
    with pytest.raises(ValueError, match="does not fit"):
        pack_rows([513], max_width=512)


def test_sizes_are_rounded_up_to_few_values_that_are_hardly_larger() -> None:
    assert [round_up(n) for n in (1, 7, 9, 17, 33)] == [1, 7, 9, 18, 36]
    assert all(round_up(n) <= n * 1.125 + 1 for n in range(1, 5000))
    assert len([step for step in ROW_COUNTS if step < 5000]) < 100


def test_the_packed_and_the_plain_encoder_give_the_same_labels(engine: Engine) -> None:
    assert engine.settings.backend == "auto"
    plain = Engine.load(ModelSettings(backend="torch", dtype="float32", remembered_texts=0))
    expected, actual = plain.classify(HEADLINES), engine.classify(HEADLINES)
    assert all(map(backend_selection.same_labels, expected, actual))
    for a, b in zip(expected, actual, strict=True):
        assert a.score == pytest.approx(b.score, abs=0.05)
        assert (a.lang, a.windows, a.truncated) == (b.lang, b.windows, b.truncated)


def test_the_fastest_backend_is_measured_once_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend_selection.cached_backend(ModelSettings(), tmp_path).backend == "auto", (
        "nothing was measured yet"
    )
    selected = backend_selection.select_backend(ModelSettings(), tmp_path)
    assert selected.backend in ("amx", "int8", "packed", "torch")
    (file,) = tmp_path.rglob("*.json")
    assert '"packed' in file.read_text()
    monkeypatch.setattr(backend_selection, "measure", lambda settings: pytest.fail("measured again"))
    assert backend_selection.select_backend(ModelSettings(), tmp_path) == selected
    assert backend_selection.cached_backend(ModelSettings(), tmp_path) == selected
    assert backend_selection.select_backend(ModelSettings(backend="torch"), tmp_path).dtype == "auto"


def test_a_damaged_cache_file_is_measured_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings()
    choice = backend_selection.Choice("torch", "float32", {})
    monkeypatch.setattr(backend_selection, "measure", lambda settings: choice)
    backend_selection.select_backend(settings, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    assert backend_selection.select_backend(settings, tmp_path).backend == "torch"
    assert file.read_text() != "{"


def test_a_backend_with_different_labels_is_not_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    def negated_encode(self: PackedEncoder, *inputs: Any) -> Any:
        return -encode(self, *inputs)

    encode = PackedEncoder.encode
    monkeypatch.setattr(Engine, "check_canaries", lambda self: None)
    monkeypatch.setattr(PackedEncoder, "encode", negated_encode)
    # Without the library, no native encoder is tried.
    monkeypatch.setattr(encoders, "library", lambda backend: None)
    choice = backend_selection.measure(ModelSettings())
    assert choice.backend == "torch"
    assert min(choice.tried.values()) == 0.0
    assert {name.split()[0] for name, rate in choice.tried.items() if rate == 0.0} == {"packed"}


def test_a_repeated_text_is_classified_once() -> None:
    registry = CollectorRegistry()
    engine = Engine.load(ModelSettings(), ModelMetrics(registry))

    def texts_classified(by: str) -> float | None:
        return registry.get_sample_value("sentiment_inference_texts_total", {"by": by})

    texts = [HEADLINES[0], HEADLINES[1], HEADLINES[0]]
    first = engine.classify(texts)
    assert first[0] == first[2] != first[1]
    assert (texts_classified("network"), texts_classified("memory")) == (2, 1)
    assert engine.classify(list(reversed(texts))) == list(reversed(first))
    assert (texts_classified("network"), texts_classified("memory")) == (2, 4)
    (in_french,) = engine.classify([HEADLINES[0]], ["fr"])
    assert in_french.sentiment is None, "another declared language is another cache key"


def test_the_prediction_cache_is_bounded_and_drops_the_least_recently_used() -> None:
    cache = PredictionCache(2)
    keys = [PredictionCache.key(CleanInput(text)) for text in ("a", "b", "c", "\udc80")]
    for version, key in enumerate(keys[:2]):
        cache.add({key: Prediction(model=str(version), lang=None)})
    assert cache.get([keys[0]])
    cache.add({keys[2]: Prediction(model="2", lang=None)})
    assert cache.get(keys).keys() == {keys[0], keys[2]}
