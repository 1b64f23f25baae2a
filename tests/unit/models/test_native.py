"""The native encoders compute the same as the plain encoder, and texts do not affect each other."""

import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from models import backend_selection
from models.backends.native import encoders
from models.backends.native.encoders import AmxEncoder, Int8Encoder, NativeEncoder
from models.backends.packed import PackedEncoder
from models.errors import ModelError
from models.inference.engine import Engine
from models.inference.explain import explain
from models.inference.forward import RECHECK_MARGIN
from models.network.encoder import attention_parts
from models.network.pooling import AdditivePooling, MeanPooling
from models.settings import ModelSettings
from stream.domain.errors import InferenceError

CPU, BF16 = torch.device("cpu"), torch.bfloat16
CPU_SUPPORT = {
    AmxEncoder: torch.cpu._is_amx_tile_supported(),
    Int8Encoder: torch.cpu._is_vnni_supported(),
}
AVAILABLE = [kind for kind, supported in CPU_SUPPORT.items() if supported and shutil.which("g++")]
AMX = pytest.mark.skipif(AmxEncoder not in AVAILABLE, reason="this CPU has no AMX, or there is no compiler")
INT8 = pytest.mark.skipif(
    Int8Encoder not in AVAILABLE, reason="this CPU has no AVX-512 with VNNI, or no compiler"
)
EACH_ENCODER = pytest.mark.parametrize(
    "kind", [pytest.param(AmxEncoder, marks=AMX), pytest.param(Int8Encoder, marks=INT8)]
)
Kind = type[NativeEncoder]
SHAPES: dict[str, dict[str, int]] = {
    "heads of 32": {"hidden_size": 192, "num_attention_heads": 6, "intermediate_size": 64},
    "heads of 64, intermediate size not a multiple of PART": {
        "hidden_size": 128,
        "num_attention_heads": 2,
        "intermediate_size": 448,
    },
    "12 heads of 64, as in the base of the large model": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
}
ARCHITECTURES = {
    "BERT": (BertModel, BertConfig),
    "RoBERTa": (RobertaModel, RobertaConfig),
    "MPNet": (MPNetModel, MPNetConfig),
}


def random_encoder(
    model_class: Any = BertModel, config_class: Any = BertConfig, shape: str = "heads of 32", **options: Any
) -> Any:
    """An encoder with random weights, which are large enough that attention is not uniform."""
    torch.manual_seed(7)
    sizes = SHAPES[shape]
    # Products of every width have values of about the same size, and so errors.
    spread = 0.25 / sizes["hidden_size"] ** 0.5
    config = config_class(
        vocab_size=90, num_hidden_layers=2, max_position_embeddings=600, initializer_range=spread,
        **sizes, **options,
    )  # fmt: skip
    network = model_class(config).eval()
    for layer in network.encoder.layer:
        attention = attention_parts(layer)
        for part in (attention.query, attention.key):
            nn.init.normal_(part.weight, std=4 / config.hidden_size**0.5)
        for norm in (attention.norm, layer.output.LayerNorm):
            nn.init.normal_(norm.bias, std=0.3)
    if model_class is MPNetModel:
        nn.init.normal_(network.encoder.relative_attention_bias.weight, std=0.5)
    # All encoders can represent these weights exactly, so only rounding in the computation differs.
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                scale = (module.weight.abs().amax(1, keepdim=True) / 127).to(BF16).float()
                module.weight.copy_(
                    ((module.weight / scale).round().clamp(-127, 127) * scale).to(BF16).float()
                )
    return network


def native(kind: Kind, encoder: Any, poolings: Any = None) -> Any:
    return kind(encoder, CPU, kind.dtype, poolings or {})


def random_texts(lengths: list[int], seed: int = 3) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of texts with these lengths in tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids, attend = (torch.zeros(len(lengths), max(lengths) + 2, dtype=torch.long) for _ in range(2))
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 89, (length,), generator=generator)
        attend[row, :length] = 1
    return ids, attend


@torch.inference_mode()
def vectors(network: Any, ids: Tensor, attend: Tensor) -> Tensor:
    """The vectors [tokens, width] of all texts."""
    output = network(input_ids=ids, attention_mask=attend)
    slots = getattr(output, "slots", None)
    hidden: Tensor = output.last_hidden_state if slots is None else output.last_hidden_state[slots]
    return hidden[attend.bool()].float()


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@EACH_ENCODER
def test_the_library_was_built(kind: Kind) -> None:
    assert encoders.library(kind.backend) is not None


class Case(NamedTuple):
    """A network, texts for it, and their vectors in full precision."""

    plain: Any
    ids: Tensor
    attend: Tensor
    expected: Tensor


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    params=[[5, 1, 64, 33, 33, 0, 12], [1], [15, 16, 17, 31, 32], [590, 3, 129, 2], [18] * 70, [0]],
    ids=lambda lengths: f"{len(lengths)} texts of up to {max(lengths)} tokens",
)
def lengths(request: pytest.FixtureRequest) -> list[int]:
    values: list[int] = request.param
    return values


@pytest.fixture(params=ARCHITECTURES)
def case(request: pytest.FixtureRequest, shape: str, lengths: list[int]) -> Case:
    plain = random_encoder(*ARCHITECTURES[request.param], shape)
    ids, attend = random_texts(lengths)
    return Case(plain, ids, attend, vectors(plain, ids, attend))


def rms_error(actual: Tensor, expected: Tensor) -> float:
    """The root mean square error; 0 if there are no tokens."""
    return (actual - expected).square().mean().sqrt().item() if len(expected) else 0.0


@AMX
def test_amx_is_as_close_to_full_precision_as_the_packed_encoder(case: Case) -> None:
    actual = vectors(native(AmxEncoder, case.plain), case.ids, case.attend)
    packed = vectors(PackedEncoder(case.plain, CPU, BF16), case.ids, case.attend)
    assert actual.shape == case.expected.shape
    if len(case.expected):
        assert rms_error(actual, case.expected) < max(1.2 * rms_error(packed, case.expected), 0.004)
        assert (actual - case.expected).abs().max() < 0.1


@INT8
def test_int8_is_close_to_full_precision_and_its_16_bit_variant_hardly_differs(case: Case) -> None:
    encoder = native(Int8Encoder, case.plain)
    in_8_bits = vectors(encoder, case.ids, case.attend)
    in_16_bits = vectors(encoder.more_exact(), case.ids, case.attend)
    assert in_8_bits.shape == in_16_bits.shape == case.expected.shape
    assert rms_error(in_8_bits, case.expected) < 0.01
    assert rms_error(in_16_bits, case.expected) < 0.001


@EACH_ENCODER
def test_the_outputs_have_few_different_shapes(kind: Kind) -> None:
    """Torch caches what it compiles for each shape, so a shape for every batch would use more and more memory."""
    encoder, sizes = native(kind, random_encoder()), set()
    for count in range(1, 600, 7):
        ids, attend = random_texts([1] * count)
        output = encoder(input_ids=ids, attention_mask=attend).last_hidden_state
        sizes.add(len(output))
        assert not output[count:].any()
    assert len(sizes) == 3


@EACH_ENCODER
def test_the_vectors_of_a_text_do_not_depend_on_its_neighbours_even_if_those_are_nan(kind: Kind) -> None:
    plain = random_encoder()
    with torch.no_grad():
        plain.embeddings.word_embeddings.weight[89] = float("nan")
    encoder = native(kind, plain)
    lengths = [20, 7, 33, 20]
    ids, attend = random_texts(lengths)
    alone = [vectors(encoder, ids[i : i + 1], attend[i : i + 1]) for i in range(len(lengths))]
    together = vectors(encoder, ids, attend).split(lengths)
    assert all(map(torch.equal, alone, together))
    ids[1, 3] = 89
    with_nan = vectors(encoder, ids, attend).split(lengths)
    assert with_nan[1].isnan().any()
    assert all(torch.equal(with_nan[i], alone[i]) for i in (0, 2, 3))


@EACH_ENCODER
@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_nan_weights_give_nan_outputs(kind: Kind, part: str) -> None:
    plain = random_encoder()
    with torch.no_grad():
        getattr(plain.encoder.layer[0].attention.self, part).weight[40, 3] = float("nan")
    encoder = native(kind, plain, {"topic": AdditivePooling(192)})
    ids, attend = random_texts([20, 50])
    output = encoder(input_ids=ids, attention_mask=attend)
    assert output.last_hidden_state[:70].isnan().all()
    assert output.scores["topic"][:70].isnan().all()


@EACH_ENCODER
def test_the_output_has_the_scores_of_additive_poolings(kind: Kind) -> None:
    torch.manual_seed(5)
    poolings = {"topic": AdditivePooling(192), "mean": MeanPooling(192), "sentiment": AdditivePooling(192)}
    encoder = native(kind, random_encoder(), poolings)
    ids, attend = random_texts([40, 600 - 2, 3])
    with torch.inference_mode():
        output = encoder(input_ids=ids, attention_mask=attend)
        assert output.scores.keys() == {"topic", "sentiment"}
        for task, scores in output.scores.items():
            expected = poolings[task].scores(output.last_hidden_state.float())
            assert torch.allclose(scores[:641], expected[:641], atol=0.02)


@EACH_ENCODER
def test_the_number_of_threads_does_not_change_the_output(kind: Kind, threads_restored: None) -> None:
    encoder = native(kind, random_encoder())
    ids, attend = random_texts([18] * 200)
    torch.set_num_threads(1)
    expected = vectors(encoder, ids, attend)
    torch.set_num_threads(3)
    assert torch.equal(vectors(encoder, ids, attend), expected)


@AMX
def test_amx_restores_the_tile_configuration_of_torch() -> None:
    a, b = torch.randn(70, 96).to(BF16), torch.randn(50, 96).to(BF16)
    expected = a @ b.T
    encoder = native(AmxEncoder, random_encoder())
    for _ in range(3):
        vectors(encoder, *random_texts([20, 30]))
        assert torch.equal(a @ b.T, expected)


@EACH_ENCODER
def test_layers_that_are_not_kept_are_removed_and_the_output_is_the_same(kind: Kind) -> None:
    plain, texts = random_encoder(), random_texts([20, 7])
    expected = vectors(native(kind, plain), *texts)
    sparing = kind(plain, CPU, kind.dtype, {}, keep_layers=False)
    assert torch.equal(vectors(sparing, *texts), expected)
    assert [type(layer) for layer in plain.encoder.layer] == [nn.Identity, nn.Identity]


@EACH_ENCODER
def test_unknown_token_ids_and_too_long_texts_are_refused(kind: Kind) -> None:
    encoder = native(kind, random_encoder())
    ids, attend = random_texts([5, 4])
    ids[1, 2] = 90
    with pytest.raises(InferenceError, match="not below 90"):
        encoder(input_ids=ids, attention_mask=attend)
    with pytest.raises(InferenceError, match="more than 600 tokens"):
        encoder(*random_texts([601]))


@EACH_ENCODER
def test_unsupported_types_and_architectures_are_refused(kind: Kind) -> None:
    other = torch.float32 if kind.dtype == BF16 else BF16
    with pytest.raises(ModelError, match=rf"not in {other} on cpu: set models.device to cpu"):
        kind(random_encoder(), CPU, other, {})
    with pytest.raises(ModelError, match="BertModel is no BERT with GELU and with sizes in multiples of"):
        native(kind, random_encoder(hidden_act="gelu_new"))


@pytest.mark.parametrize(
    "kind, cpu_feature", [(AmxEncoder, "AMX for bfloat16"), (Int8Encoder, "AVX-512 with VNNI")]
)
def test_the_error_on_an_unsupported_cpu_says_what_is_missing(
    kind: Kind, cpu_feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "library", lambda backend: None)
    with pytest.raises(ModelError, match=rf"has no {cpu_feature} or there was no C"):
        native(kind, random_encoder())
    assert kind.backend not in [
        backend for backend, _ in backend_selection.candidates(ModelSettings(device="cpu"))
    ]


@pytest.fixture(scope="module")
def float32_engine() -> Engine:
    return Engine.load(ModelSettings(backend="torch", dtype="float32", device="cpu", remembered_texts=0))


def shipped_engine(kind: Kind) -> Engine:
    return Engine.load(ModelSettings(backend=kind.backend, device="cpu", remembered_texts=0))  # type: ignore[arg-type]


@EACH_ENCODER
def test_the_shipped_model_has_the_labels_of_full_precision(kind: Kind, float32_engine: Engine) -> None:
    engine = shipped_engine(kind)
    texts, languages = backend_selection.sample(float32_engine)
    texts.append(" ".join(texts[:60]))  # has several windows
    languages.append(languages[0])
    expected, actual = float32_engine.classify(texts, languages), engine.classify(texts, languages)
    assert actual[-1].windows > 1
    for a, b in zip(expected, actual, strict=True):
        assert backend_selection.same_labels(a, b)
        assert a.score == pytest.approx(b.score, abs=0.05)
        assert (a.windows, a.truncated) == (b.windows, b.truncated)


@INT8
def test_texts_with_a_small_margin_are_classified_again_in_16_bits(float32_engine: Engine) -> None:
    texts, languages = backend_selection.sample(float32_engine)
    expected = float32_engine.classify(texts, languages)
    actual = shipped_engine(Int8Encoder).classify(texts, languages)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for a, b in zip(expected, actual, strict=True):
        ranked = [sorted(shares.values(), reverse=True) for shares in a.probabilities.values()]
        margin = min(first - second for first, second, *_ in ranked)
        # Near the limit, a text can be on either side of it.
        if not RECHECK_MARGIN / 2 < margin < RECHECK_MARGIN * 2:
            errors[margin < RECHECK_MARGIN].append(abs(a.score - b.score))
    assert errors[True] and max(errors[True]) < 0.001 < max(errors[False])


@EACH_ENCODER
def test_a_native_backend_refuses_gradients(kind: Kind) -> None:
    engine = shipped_engine(kind)
    assert explain(engine, "Shares of the bank fall", method="attention").words
    with pytest.raises(
        ModelError, match=f"models.backend is {kind.backend}, which can only classify: set it to torch"
    ):
        explain(engine, "Shares of the bank fall", method="gradient")
    assert engine.classify_targets("Shares of the bank fall", [(14, 18)])[0].evidence
