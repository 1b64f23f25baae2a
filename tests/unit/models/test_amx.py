"""The encoder on the CPU's matrix unit says what the plain one says, and keeps texts apart."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from models.amx import AmxEncoder
from torch import Tensor, nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from models import amx, choosing
from models.attention import AdditivePooling, MeanPooling
from models.engine import Engine
from models.errors import InferenceError, ModelError
from models.packed import PackedEncoder
from models.settings import ModelSettings

pytestmark = pytest.mark.skipif(
    not torch.cpu._is_amx_tile_supported() or not shutil.which("g++"),
    reason="this CPU has no AMX, or there is no compiler",
)
CPU, BF16 = torch.device("cpu"), torch.bfloat16
SHAPES: dict[str, dict[str, int]] = {
    "heads of 32": {"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 64},
    "heads of 64, a wide part with a rest": {
        "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 416,
    },
}  # fmt: skip


def encoder(kind: Any = BertModel, config: Any = BertConfig, shape: str = "heads of 32", **more: Any) -> Any:
    """Of random weights, large enough that attention has opinions."""
    torch.manual_seed(7)
    found = kind(
        config(vocab_size=90, num_hidden_layers=2, max_position_embeddings=600, **SHAPES[shape], **more)
    ).eval()
    for layer in found.encoder.layer:
        for part in (layer.attention.self.query, layer.attention.self.key):
            nn.init.normal_(part.weight, std=0.3)
    # In both, so that only what is computed differs.
    return found.to(BF16).float()


def texts(lengths: list[int], seed: int = 3) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    ids, attend = (torch.zeros(len(lengths), max(lengths) + 2, dtype=torch.long) for _ in range(2))
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 89, (length,), generator=chance)
        attend[row, :length] = 1
    return ids, attend


@torch.inference_mode()
def vectors(network: Any, ids: Tensor, attend: Tensor) -> Tensor:
    """[tokens, width] of all texts."""
    answer = network(input_ids=ids, attention_mask=attend)
    at = getattr(answer, "at", None)
    found: Tensor = answer.last_hidden_state if at is None else answer.last_hidden_state[at]
    return found[attend.bool()].float()


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_it_was_built() -> None:
    assert amx.library() is not None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind, config", [(BertModel, BertConfig), (RobertaModel, RobertaConfig)])
@pytest.mark.parametrize(
    "lengths",
    [[5, 1, 64, 33, 33, 0, 12], [1], [15, 16, 17, 31, 32], [590, 3, 129, 2], [18] * 70, [0]],
    ids=lambda lengths: f"{len(lengths)} texts of {max(lengths)} at most",
)
def test_it_is_as_near_to_full_precision_as_the_packed_encoder(
    shape: str, kind: Any, config: Any, lengths: list[int]
) -> None:
    plain = encoder(kind, config, shape)
    ids, attend = texts(lengths)
    wanted = vectors(plain, ids, attend)
    given = vectors(AmxEncoder(plain, CPU, BF16, {}), ids, attend)
    packed = vectors(PackedEncoder(plain, CPU, BF16), ids, attend)
    assert given.shape == wanted.shape
    if len(wanted):
        mine, theirs = ((found - wanted).square().mean().sqrt().item() for found in (given, packed))
        assert mine < max(1.2 * theirs, 0.004)
        assert (given - wanted).abs().max() < 0.1


def test_what_it_answers_has_few_shapes() -> None:
    """Torch keeps what it compiled for each of them: one for every batch was memory that only grew."""
    own, sizes = AmxEncoder(encoder(), CPU, BF16, {}), set()
    for count in range(1, 600, 7):
        ids, attend = texts([1] * count)
        vectors = own(input_ids=ids, attention_mask=attend).last_hidden_state
        sizes.add(len(vectors))
        assert not vectors[count:].any()
    assert len(sizes) == 3


def test_a_text_does_not_see_its_neighbours_even_where_they_are_no_numbers() -> None:
    plain = encoder()
    with torch.no_grad():
        plain.embeddings.word_embeddings.weight[89] = float("nan")
    own = AmxEncoder(plain, CPU, BF16, {})
    lengths = [20, 7, 33, 20]
    ids, attend = texts(lengths)
    alone = [vectors(own, ids[i : i + 1], attend[i : i + 1]) for i in range(len(lengths))]
    together = vectors(own, ids, attend).split(lengths)
    assert all(map(torch.equal, alone, together))
    ids[1, 3] = 89
    bad = vectors(own, ids, attend).split(lengths)
    assert bad[1].isnan().any()
    assert all(torch.equal(bad[i], alone[i]) for i in (0, 2, 3))


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_what_is_no_number_stays_none(part: str) -> None:
    plain = encoder()
    with torch.no_grad():
        getattr(plain.encoder.layer[0].attention.self, part).weight[40, 3] = float("nan")
    heads = {"topic": AdditivePooling(96)}
    ids, attend = texts([20, 50])
    answer = AmxEncoder(plain, CPU, BF16, heads)(input_ids=ids, attention_mask=attend)
    given = answer.last_hidden_state[:70], answer.scores["topic"][:70]
    assert all(values.isnan().all() for values in given)


def test_the_scores_of_additive_heads_come_with_the_vectors() -> None:
    torch.manual_seed(5)
    heads = {"topic": AdditivePooling(96), "mean": MeanPooling(96), "sentiment": AdditivePooling(96)}
    own = AmxEncoder(encoder(), CPU, BF16, heads)
    ids, attend = texts([40, 600 - 2, 3])
    with torch.inference_mode():
        answer = own(input_ids=ids, attention_mask=attend)
        assert answer.scores.keys() == {"topic", "sentiment"}
        for task, scores in answer.scores.items():
            wanted = heads[task].scores(answer.last_hidden_state.float())
            assert torch.allclose(scores[:641], wanted[:641], atol=0.02)


def test_more_threads_say_the_same(threads_restored: None) -> None:
    own = AmxEncoder(encoder(), CPU, BF16, {})
    ids, attend = texts([18] * 200)
    torch.set_num_threads(1)
    wanted = vectors(own, ids, attend)
    torch.set_num_threads(3)
    assert torch.equal(vectors(own, ids, attend), wanted)


def test_torch_finds_the_unit_as_it_left_it() -> None:
    a, b = torch.randn(70, 96).to(BF16), torch.randn(50, 96).to(BF16)
    wanted = a @ b.T
    own = AmxEncoder(encoder(), CPU, BF16, {})
    for _ in range(3):
        vectors(own, *texts([20, 30]))
        assert torch.equal(a @ b.T, wanted)


def test_what_the_tables_have_no_row_for_is_refused() -> None:
    own = AmxEncoder(encoder(), CPU, BF16, {})
    ids, attend = texts([5, 4])
    ids[1, 2] = 90
    with pytest.raises(InferenceError, match="not below 90"):
        own(input_ids=ids, attention_mask=attend)
    with pytest.raises(InferenceError, match="more than 600 tokens"):
        own(*texts([601]))


def test_what_it_cannot_run_is_said() -> None:
    with pytest.raises(ModelError, match=r"not in torch.float32 on cpu: set models.device and models.dtype"):
        AmxEncoder(encoder(), CPU, torch.float32, {})
    with pytest.raises(ModelError, match="BertModel is no BERT with sizes in multiples of 32 and GELU"):
        AmxEncoder(encoder(hidden_act="gelu_new"), CPU, BF16, {})


def test_a_machine_without_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "library", lambda: None)
    with pytest.raises(ModelError, match="no AMX for bfloat16 or there was no C"):
        AmxEncoder(encoder(), CPU, BF16, {})
    assert "amx" not in [backend for backend, _ in choosing.candidates(ModelSettings(device="cpu"))]


def test_the_shipped_model_gives_the_labels_of_full_precision() -> None:
    plain = Engine.load(ModelSettings(backend="torch", dtype="float32", device="cpu", remembered_texts=0))
    own = Engine.load(ModelSettings(backend="amx", device="cpu", remembered_texts=0))
    found, languages = choosing.sample(plain)
    found.append(" ".join(found[:60]))  # of several windows
    languages.append(languages[0])
    wanted, given = plain.classify(found, languages), own.classify(found, languages)
    assert given[-1].windows > 1
    for a, b in zip(wanted, given, strict=True):
        assert choosing.same(a, b)
        assert a.score == pytest.approx(b.score, abs=0.05)
        assert (a.windows, a.truncated) == (b.windows, b.truncated)
