"""The encoders of the monitor's own library say what the plain one says, and keep texts apart."""

import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from models import backend_selection
from models.backends.native import encoders
from models.backends.native.encoders import AmxEncoder, Int8Encoder, NativeEncoder
from models.backends.packed import PackedEncoder
from models.errors import ModelError
from models.inference.engine import Engine
from models.inference.explain import explain
from models.inference.forward import RECHECK_MARGIN
from models.network.pooling import AdditivePooling, MeanPooling
from models.settings import ModelSettings
from stream.domain.errors import InferenceError

CPU, BF16 = torch.device("cpu"), torch.bfloat16
HAS = {
    AmxEncoder: torch.cpu._is_amx_tile_supported(),
    Int8Encoder: torch.cpu._is_vnni_supported(),
}
BUILT_FOR = [kind for kind, has in HAS.items() if has and shutil.which("g++")]
AMX = pytest.mark.skipif(AmxEncoder not in BUILT_FOR, reason="this CPU has no AMX, or there is no compiler")
INT8 = pytest.mark.skipif(
    Int8Encoder not in BUILT_FOR, reason="this CPU has no AVX-512 with VNNI, or no compiler"
)
EACH = pytest.mark.parametrize(
    "kind", [pytest.param(AmxEncoder, marks=AMX), pytest.param(Int8Encoder, marks=INT8)]
)
Kind = type[NativeEncoder]
SHAPES: dict[str, dict[str, int]] = {
    "heads of 32": {"hidden_size": 192, "num_attention_heads": 6, "intermediate_size": 64},
    "heads of 64, a wide part with a rest": {
        "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 448,
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
        for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
            nn.init.normal_(norm.bias, std=0.3)
    # In each, so that only what is computed differs.
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, nn.Linear):
                scale = (module.weight.abs().amax(1, keepdim=True) / 127).to(BF16).float()
                module.weight.copy_(
                    ((module.weight / scale).round().clamp(-127, 127) * scale).to(BF16).float()
                )
    return found


def of(kind: Kind, encoder: Any, poolings: Any = None) -> Any:
    return kind(encoder, CPU, kind.dtype, poolings or {})


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
    at = getattr(answer, "slots", None)
    found: Tensor = answer.last_hidden_state if at is None else answer.last_hidden_state[at]
    return found[attend.bool()].float()


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@EACH
def test_it_was_built(kind: Kind) -> None:
    assert encoders.library(kind.backend) is not None


class Case(NamedTuple):
    """A network, texts for it, and their vectors in full precision."""

    plain: Any
    ids: Tensor
    attend: Tensor
    wanted: Tensor


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    params=[[5, 1, 64, 33, 33, 0, 12], [1], [15, 16, 17, 31, 32], [590, 3, 129, 2], [18] * 70, [0]],
    ids=lambda lengths: f"{len(lengths)} texts of {max(lengths)} at most",
)
def lengths(request: pytest.FixtureRequest) -> list[int]:
    found: list[int] = request.param
    return found


@pytest.fixture(params=[(BertModel, BertConfig), (RobertaModel, RobertaConfig)], ids=["BERT", "RoBERTa"])
def case(request: pytest.FixtureRequest, shape: str, lengths: list[int]) -> Case:
    plain = encoder(*request.param, shape)
    ids, attend = texts(lengths)
    return Case(plain, ids, attend, vectors(plain, ids, attend))


def error(found: Tensor, wanted: Tensor) -> float:
    """Root of the mean square; 0 of nothing."""
    return (found - wanted).square().mean().sqrt().item() if len(wanted) else 0.0


@AMX
def test_on_the_matrix_unit_it_is_as_near_to_full_precision_as_the_packed_encoder(case: Case) -> None:
    given = vectors(of(AmxEncoder, case.plain), case.ids, case.attend)
    packed = vectors(PackedEncoder(case.plain, CPU, BF16), case.ids, case.attend)
    assert given.shape == case.wanted.shape
    if len(case.wanted):
        assert error(given, case.wanted) < max(1.2 * error(packed, case.wanted), 0.004)
        assert (given - case.wanted).abs().max() < 0.1


@INT8
def test_in_8_bits_it_is_near_to_full_precision_and_in_16_hardly_to_be_told_from_it(case: Case) -> None:
    own = of(Int8Encoder, case.plain)
    given, exact = (vectors(one, case.ids, case.attend) for one in (own, own.more_exact()))
    assert given.shape == exact.shape == case.wanted.shape
    assert error(given, case.wanted) < 0.03
    assert error(exact, case.wanted) < 0.001


@EACH
def test_what_it_answers_has_few_shapes(kind: Kind) -> None:
    """Torch keeps what it compiled for each of them: one for every batch was memory that only grew."""
    own, sizes = of(kind, encoder()), set()
    for count in range(1, 600, 7):
        ids, attend = texts([1] * count)
        vectors = own(input_ids=ids, attention_mask=attend).last_hidden_state
        sizes.add(len(vectors))
        assert not vectors[count:].any()
    assert len(sizes) == 3


@EACH
def test_a_text_does_not_see_its_neighbours_even_where_they_are_no_numbers(kind: Kind) -> None:
    plain = encoder()
    with torch.no_grad():
        plain.embeddings.word_embeddings.weight[89] = float("nan")
    own = of(kind, plain)
    lengths = [20, 7, 33, 20]
    ids, attend = texts(lengths)
    alone = [vectors(own, ids[i : i + 1], attend[i : i + 1]) for i in range(len(lengths))]
    together = vectors(own, ids, attend).split(lengths)
    assert all(map(torch.equal, alone, together))
    ids[1, 3] = 89
    bad = vectors(own, ids, attend).split(lengths)
    assert bad[1].isnan().any()
    assert all(torch.equal(bad[i], alone[i]) for i in (0, 2, 3))


@EACH
@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_what_is_no_number_stays_none(kind: Kind, part: str) -> None:
    plain = encoder()
    with torch.no_grad():
        getattr(plain.encoder.layer[0].attention.self, part).weight[40, 3] = float("nan")
    heads = {"topic": AdditivePooling(192)}
    ids, attend = texts([20, 50])
    answer = of(kind, plain, heads)(input_ids=ids, attention_mask=attend)
    given = answer.last_hidden_state[:70], answer.scores["topic"][:70]
    assert all(values.isnan().all() for values in given)


@EACH
def test_the_scores_of_additive_heads_come_with_the_vectors(kind: Kind) -> None:
    torch.manual_seed(5)
    heads = {"topic": AdditivePooling(192), "mean": MeanPooling(192), "sentiment": AdditivePooling(192)}
    own = of(kind, encoder(), heads)
    ids, attend = texts([40, 600 - 2, 3])
    with torch.inference_mode():
        answer = own(input_ids=ids, attention_mask=attend)
        assert answer.scores.keys() == {"topic", "sentiment"}
        for task, scores in answer.scores.items():
            wanted = heads[task].scores(answer.last_hidden_state.float())
            assert torch.allclose(scores[:641], wanted[:641], atol=0.02)


@EACH
def test_more_threads_say_the_same(kind: Kind, threads_restored: None) -> None:
    own = of(kind, encoder())
    ids, attend = texts([18] * 200)
    torch.set_num_threads(1)
    wanted = vectors(own, ids, attend)
    torch.set_num_threads(3)
    assert torch.equal(vectors(own, ids, attend), wanted)


@AMX
def test_torch_finds_the_unit_as_it_left_it() -> None:
    a, b = torch.randn(70, 96).to(BF16), torch.randn(50, 96).to(BF16)
    wanted = a @ b.T
    own = of(AmxEncoder, encoder())
    for _ in range(3):
        vectors(own, *texts([20, 30]))
        assert torch.equal(a @ b.T, wanted)


@EACH
def test_what_the_tables_have_no_row_for_is_refused(kind: Kind) -> None:
    own = of(kind, encoder())
    ids, attend = texts([5, 4])
    ids[1, 2] = 90
    with pytest.raises(InferenceError, match="not below 90"):
        own(input_ids=ids, attention_mask=attend)
    with pytest.raises(InferenceError, match="more than 600 tokens"):
        own(*texts([601]))


@EACH
def test_what_it_cannot_run_is_said(kind: Kind) -> None:
    other = torch.float32 if kind.dtype == BF16 else BF16
    with pytest.raises(ModelError, match=rf"not in {other} on cpu: set models.device to cpu"):
        kind(encoder(), CPU, other, {})
    with pytest.raises(ModelError, match="BertModel is no BERT with GELU and with sizes in multiples of"):
        of(kind, encoder(hidden_act="gelu_new"))


@pytest.mark.parametrize(
    "kind, needed", [(AmxEncoder, "AMX for bfloat16"), (Int8Encoder, "AVX-512 with VNNI")]
)
def test_a_machine_without_it_is_told_what_to_do(
    kind: Kind, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "library", lambda backend: None)
    with pytest.raises(ModelError, match=rf"has no {needed} or there was no C"):
        of(kind, encoder())
    assert kind.backend not in [
        backend for backend, _ in backend_selection.candidates(ModelSettings(device="cpu"))
    ]


@pytest.fixture(scope="module")
def exactly() -> Engine:
    return Engine.load(ModelSettings(backend="torch", dtype="float32", device="cpu", remembered_texts=0))


def shipped(kind: Kind) -> Engine:
    return Engine.load(ModelSettings(backend=kind.backend, device="cpu", remembered_texts=0))  # type: ignore[arg-type]


@EACH
def test_the_shipped_model_gives_the_labels_of_full_precision(kind: Kind, exactly: Engine) -> None:
    own = shipped(kind)
    found, languages = backend_selection.sample(exactly)
    found.append(" ".join(found[:60]))  # of several windows
    languages.append(languages[0])
    wanted, given = exactly.classify(found, languages), own.classify(found, languages)
    assert given[-1].windows > 1
    for a, b in zip(wanted, given, strict=True):
        assert backend_selection.same_labels(a, b)
        assert a.score == pytest.approx(b.score, abs=0.05)
        assert (a.windows, a.truncated) == (b.windows, b.truncated)


@INT8
def test_what_is_too_close_for_8_bits_is_judged_in_16(exactly: Engine) -> None:
    found, languages = backend_selection.sample(exactly)
    wanted, given = exactly.classify(found, languages), shipped(Int8Encoder).classify(found, languages)
    off: dict[bool, list[float]] = {True: [], False: []}
    for a, b in zip(wanted, given, strict=True):
        lead = min(
            one - two for one, two, *_ in (sorted(v.values(), reverse=True) for v in a.probabilities.values())
        )
        # What is in doubt whether it is close is none of ours.
        if not RECHECK_MARGIN / 2 < lead < RECHECK_MARGIN * 2:
            off[lead < RECHECK_MARGIN].append(abs(a.score - b.score))
    assert off[True] and max(off[True]) < 0.001 < max(off[False])


@EACH
def test_what_can_only_judge_says_so_where_it_is_to_explain(kind: Kind) -> None:
    own = shipped(kind)
    assert explain(own, "Shares of the bank fall", method="attention").words
    with pytest.raises(
        ModelError, match=f"models.backend is {kind.backend}, which can only classify: set it to torch"
    ):
        explain(own, "Shares of the bank fall", method="gradient")
    with pytest.raises(ModelError, match="can only classify"):
        own.classify_targets("Shares of the bank fall", [(14, 18)])
