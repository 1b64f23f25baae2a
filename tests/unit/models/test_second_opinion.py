"""Two models as one classifier: which one labels a text, what the prediction says of it, and what is loaded."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from models import loading
from models import plan as plan_module
from models.backend_cache import RateCache
from models.backend_selection import headlines_per_second
from models.errors import WeightsError
from models.inference import routing
from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.inference.second_opinion import SecondOpinion
from models.inference.whole import Mode, needs_first, whole_info, whole_version
from models.network import artifact
from models.network.info import ModelInfo, Routing, read_info
from models.plan import Plan
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from stream.domain.documents import Prediction

HEADLINES = [
    "Brightmoor shares plunge after huge loss and fraud inquiry",
    "Alderbrook profit doubles as orders soar",
    "Brightmoor to hold its annual meeting on 12 May",
    "Alderbrook's loss narrows less than feared, but it cuts its outlook",
    "Regulator says reports of a Brightmoor default are false",
    "Short seller closes its bet against Alderbrook",
    "Is Brightmoor running out of cash?",
    "Central bank holds rates as inflation eases",
    "Brightmoor pares losses in late trading",
    "Alderbrook Motors names new finance chief",
]
ZH = ["明曜光电亏损扩大，股价跌停", "央行宣布降准0.5个百分点", "公司否认破产传闻"]


def copy_model(
    folder: Path,
    name: str,
    *,
    languages: tuple[str, ...] = ("en", "zh"),
    contrary: bool = False,
    **part: object,
) -> Path:
    """The shipped model under another name; `contrary` calls positive what it calls negative."""
    shutil.copytree(SHIPPED_WEIGHTS, folder)
    info = read_info(folder)
    parts = tuple(
        msgspec.structs.replace(one, **({"canaries": ()} if contrary else {}), **part)
        for one in info.parts
        if set(one.languages) & set(languages)
    )
    labels = dict(info.labels)
    if contrary:
        swap = {"positive": "negative", "negative": "positive"}
        labels["sentiment"] = tuple(swap.get(label, label) for label in labels["sentiment"])
    artifact.save_info(folder, msgspec.structs.replace(info, name=name, parts=parts, labels=labels))
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for the large model, whose labels differ from the small one's."""
    return copy_model(tmp_path_factory.mktemp("large") / "large", "large", contrary=True)


def opinion(setting: str, **more: object) -> SecondOpinion:
    settings = ModelSettings(second_opinion=setting, device="cpu", remembered_texts=0, **more)  # type: ignore[arg-type]
    loaded = loading.load(settings)
    assert isinstance(loaded, SecondOpinion)
    return loaded


@pytest.fixture(scope="module")
def auto(large: Path) -> SecondOpinion:
    return opinion(f"auto:{large}")


@pytest.fixture(scope="module")
def everything(large: Path) -> SecondOpinion:
    return opinion(f"all:{large}")


def by(predictions: list[Prediction]) -> list[str]:
    return [(prediction.judged_by or "").split("-")[0] for prediction in predictions]


def test_in_mode_all_every_text_has_the_labels_of_the_large_model(
    everything: SecondOpinion, engine: Engine, large: Path
) -> None:
    predictions = everything.classify([*HEADLINES, *ZH])
    own = engine.classify([*HEADLINES, *ZH])
    assert {one.judged_by for one in predictions} == {read_info(large).version}
    assert {one.model for one in predictions} == {everything.version}
    for one, other in zip(predictions, own, strict=True):
        assert one.score == pytest.approx(-(other.score or 0), abs=0.01)


def test_in_mode_auto_the_large_model_labels_only_what_the_small_one_is_unsure_of(
    auto: SecondOpinion, engine: Engine
) -> None:
    texts = [*HEADLINES, *ZH]
    predictions, own = auto.classify(texts), engine.classify(texts)
    for text, one, other in zip(texts, predictions, own, strict=True):
        is_routed = routing.doubt(routing.DEFAULT, text, other) >= routing.DEFAULT.threshold
        assert (one.judged_by == engine.version) != is_routed
        assert one.model == auto.version
        if not is_routed:
            assert (one.sentiment, one.score, one.topic) == (other.sentiment, other.score, other.topic)
    assert set(by(predictions)) == {"monitor", "large"}


def test_the_version_names_both_models_and_the_mode(large: Path) -> None:
    first, second = read_info(SHIPPED_WEIGHTS), read_info(large)
    assert whole_version(first, second, Mode.OFF) == first.version
    assert whole_version(first, second, Mode.ALL) == f"{first.version}+{second.version}+all"
    auto = whole_version(first, second, Mode.AUTO)
    assert auto.startswith(f"{first.version}+{second.version}+auto-")
    parts = [msgspec.structs.replace(part, routing=Routing({"sentiment": 1.0}, 0.5)) for part in first.parts]
    other = msgspec.structs.replace(first, parts=tuple(parts))
    assert whole_version(other, second, Mode.AUTO) != auto
    long = msgspec.structs.replace(first, version="x" * 300)
    assert len(whole_version(long, second, Mode.ALL)) <= 200


def test_who_labels_a_text_does_not_depend_on_the_texts_around_it(large: Path) -> None:
    """Every threshold is tried that one of the texts is right at."""
    engine = Engine.load(ModelSettings(device="cpu", remembered_texts=0))
    texts = HEADLINES[:6]
    doubts = [
        routing.doubt(routing.DEFAULT, text, one)
        for text, one in zip(texts, engine.classify(texts), strict=True)
    ]
    second = Engine.load(ModelSettings(weights=large, device="cpu"))
    for threshold in doubts:
        route = msgspec.structs.replace(routing.DEFAULT, threshold=threshold)
        parts = tuple(msgspec.structs.replace(part, routing=route) for part in engine.info.parts)
        engine.info = msgspec.structs.replace(engine.info, parts=parts)
        both = SecondOpinion(engine, second, whole_info(engine.info, second.info, Mode.AUTO), Mode.AUTO)
        alone = [both.classify([text])[0].judged_by for text in texts]
        shuffled = random.Random(5).sample([*texts, *ZH], len(texts) + len(ZH))
        together = dict(zip(shuffled, both.classify(shuffled), strict=True))
        assert [together[text].judged_by for text in texts] == alone


def test_what_the_large_model_does_not_read_the_small_one_labels(tmp_path: Path) -> None:
    english = copy_model(tmp_path / "english", "english", languages=("en",))
    for mode in ("all", "auto"):
        both = opinion(f"{mode}:{english}")
        (en, zh, french) = both.classify([HEADLINES[3], ZH[0], "Le bénéfice de la société recule fortement"])
        assert by([zh]) == ["monitor"]
        assert zh.sentiment is not None
        assert french.sentiment is None
        assert french.judged_by is None
        assert en.model == zh.model == french.model == both.version
        assert "english" in by(both.classify(HEADLINES))


def test_the_small_model_is_not_loaded_where_nothing_is_left_for_it(large: Path, tmp_path: Path) -> None:
    first = read_info(SHIPPED_WEIGHTS)
    assert not needs_first(first, read_info(large))
    assert needs_first(first, read_info(copy_model(tmp_path / "english", "english", languages=("en",))))
    without_targets = copy_model(tmp_path / "without", "without", target_sentiment=False)
    assert needs_first(first, read_info(without_targets))


def test_the_sentiment_towards_names_is_the_small_models_where_the_large_one_has_none(tmp_path: Path) -> None:
    without = copy_model(tmp_path / "without", "without", target_sentiment=False)
    text = "Brightmoor soars as Alderbrook plunges"
    targets = [((0, 10),), ((20, 30),)]
    engine = Engine.load(ModelSettings(device="cpu", remembered_texts=0))
    (expected,) = engine.classify([text], None, [targets])
    for mode in ("all", "auto"):
        both = opinion(f"{mode}:{without}")
        (prediction,) = both.classify([text], None, [targets])
        assert [one.sentiment for one in prediction.targets] == [one.sentiment for one in expected.targets]
        assert both.info.target_sentiment_error("en") is None
        first, second = both.classify_targets(text, [(0, 10), (20, 30)])
        assert (first.sentiment, second.sentiment) == tuple(one.sentiment for one in expected.targets)
        assert first.model == both.version


def test_a_repeated_text_is_labelled_from_memory(large: Path) -> None:
    registry = CollectorRegistry()
    settings = ModelSettings(second_opinion=f"auto:{large}", device="cpu")  # type: ignore[arg-type]
    both = loading.load(settings, metrics=ModelMetrics(registry))
    once = both.classify([*HEADLINES, *ZH])
    tokens = registry.get_sample_value("sentiment_inference_tokens_total")
    assert both.classify([*HEADLINES, *ZH]) == once
    assert registry.get_sample_value("sentiment_inference_tokens_total") == tokens
    texts = len(HEADLINES) + len(ZH)
    counted = {
        name: registry.get_sample_value("sentiment_inference_texts_total", {"by": name})
        for name in ("network", "memory")
    }
    assert counted == {"network": texts, "memory": texts}
    judged = {
        name: registry.get_sample_value("sentiment_inference_opinions_total", {"by": name})
        for name in ("first", "second")
    }
    of_second = by(once).count("large")
    assert judged == {"first": 2 * (texts - of_second), "second": 2 * of_second}
    assert registry.get_sample_value("sentiment_inference_changed_labels_total", {"task": "sentiment"})
    (info,) = [metric for metric in registry.collect() if metric.name == "sentiment_model"]
    assert info.samples[0].labels["version"] == both.version
    assert info.samples[0].labels["second_opinion"] == "auto"


def test_each_mode_has_a_calibration_of_its_own(large: Path, tmp_path: Path) -> None:
    route = msgspec.structs.replace(
        routing.DEFAULT,
        temperature={"sentiment": 2.0},
        second=read_info(large).version,
        second_temperature={"sentiment": 0.5, "topic": 1.5},
    )
    small = copy_model(tmp_path / "small", "small", routing=route)
    plain = opinion(f"auto:{large}").classify(HEADLINES)
    tempered = opinion(f"auto:{large}", weights=small).classify(HEADLINES)
    for before, after in zip(plain, tempered, strict=True):
        assert (before.sentiment, before.topic) == (after.sentiment, after.topic)
        p, q = (max(one.probabilities["sentiment"].values()) for one in (before, after))
        assert sum(after.probabilities["sentiment"].values()) == pytest.approx(1)
        if by([after]) == ["small"]:
            assert q < p
            assert after.probabilities["topic"] == before.probabilities["topic"]
        else:
            assert q > p
        best = after.probabilities["sentiment"]
        assert after.score == pytest.approx(best["positive"] - best["negative"])
    off = Engine.load(ModelSettings(weights=small, device="cpu")).classify(HEADLINES)
    shipped = Engine.load(ModelSettings(device="cpu")).classify(HEADLINES)
    assert [one.probabilities for one in off] == [one.probabilities for one in shipped]


@pytest.fixture
def nothing_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A tree without the large model."""
    monkeypatch.setattr(plan_module, "SHIPPED_SECOND_OPINION", tmp_path / "judge")
    return tmp_path / "judge"


@pytest.mark.usefixtures("nothing_shipped")
def test_by_default_a_missing_large_model_means_off_and_the_reason_is_said() -> None:
    plan = Plan.of(ModelSettings())
    assert plan.mode is Mode.OFF
    assert "not installed" in plan.reason
    assert "sentiment-monitor[second-opinion]" in plan.reason
    assert loading.version(ModelSettings()) == read_info(SHIPPED_WEIGHTS).version
    assert loading.describe_second_opinion(ModelSettings(), lambda models: models).startswith("off: ")


@pytest.mark.usefixtures("nothing_shipped")
@pytest.mark.parametrize("setting", ["all", "auto", "/nowhere", "auto:/nowhere"])
def test_a_missing_large_model_that_the_settings_name_is_an_error(setting: str) -> None:
    with pytest.raises(WeightsError, match=r"models\.second_opinion is"):
        loading.load(ModelSettings(second_opinion=setting))  # type: ignore[arg-type]


def test_a_large_model_that_is_not_whole_or_has_other_labels_is_refused(tmp_path: Path) -> None:
    folder = copy_model(tmp_path / "half", "half")
    shutil.rmtree(folder / "zh")
    with pytest.raises(WeightsError, match="lacks zh"):
        Plan.of(ModelSettings(second_opinion=folder))
    other = copy_model(tmp_path / "other", "other")
    model = json.loads((other / "model.json").read_text())
    model["labels"]["topic"][0] = "Something else"
    (other / "model.json").write_text(json.dumps(model))
    with pytest.raises(WeightsError, match="other labels of topic"):
        Plan.of(ModelSettings(second_opinion=other))


def test_a_model_of_ones_own_gets_no_second_opinion_that_does_not_know_its_labels(
    nothing_shipped: Path, tmp_path: Path
) -> None:
    copy_model(nothing_shipped, "shipped")
    assert Plan.of(ModelSettings()).mode is None
    own = copy_model(tmp_path / "own", "own")
    assert Plan.of(ModelSettings(weights=own)).mode is Mode.OFF
    assert Plan.of(ModelSettings(weights=own, second_opinion="all")).mode is Mode.ALL
    route = msgspec.structs.replace(routing.DEFAULT, second=read_info(nothing_shipped).version)
    pair = copy_model(tmp_path / "pair", "pair", routing=route)
    assert Plan.of(ModelSettings(weights=pair)).mode is None


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"


@pytest.mark.usefixtures("cache")
def test_where_the_settings_leave_it_open_the_speed_of_the_large_model_decides(large: Path) -> None:
    settings = ModelSettings(second_opinion=large, device="cpu", backend="packed", dtype="float32")
    assert "not measured yet" in loading.describe_second_opinion(settings, lambda models: models)
    assert loading.version(settings).split("+")[2].startswith("auto")
    second = settings.model_copy(update={"weights": large})
    for rate, mode in ((399.0, Mode.AUTO), (400.0, Mode.ALL)):
        RateCache(second).write(rate)
        loaded = loading.load(settings)
        assert isinstance(loaded, SecondOpinion)
        assert loaded.mode is mode
        assert loading.version(settings) == loaded.version
        described = loading.describe_second_opinion(settings, lambda models: models)
        assert described.startswith(mode.value)
        assert f"{rate:.0f} headlines a second" in described
        fixed = loading.with_fixed_mode(settings, lambda models: models)
        assert loading.version(fixed.model_copy(update={"backend": "torch"})) == loaded.version


@pytest.mark.usefixtures("cache")
def test_a_database_keeps_the_mode_that_its_documents_were_labelled_with(large: Path) -> None:
    settings = ModelSettings(second_opinion=large, device="cpu", backend="packed", dtype="float32")
    RateCache(settings.model_copy(update={"weights": large})).write(1000.0)
    measured = loading.version(settings)
    assert measured.endswith("+all")
    assert loading.as_labelled(settings, None) == settings
    assert loading.as_labelled(settings, "another-model") == settings
    first, second = read_info(SHIPPED_WEIGHTS), read_info(large)
    for mode in (Mode.AUTO, Mode.ALL):
        latest = whole_version(first, second, mode)
        assert loading.version(loading.as_labelled(settings, latest)) == latest
        described = loading.describe_second_opinion(settings, lambda models: models, latest)
        assert described.startswith(mode.value) and "as the documents of the database" in described
    named = settings.model_copy(update={"second_opinion": Path(f"all:{large}")})
    assert loading.as_labelled(named, whole_version(first, second, Mode.AUTO)) == named


def test_the_speed_is_measured_once_and_then_read_from_the_cache(engine: Engine, tmp_path: Path) -> None:
    engine = Engine.load(ModelSettings(device="cpu", backend="packed", dtype="float32"))
    rate = headlines_per_second(engine, tmp_path)
    assert rate is not None and rate > 1
    engine.run = lambda inputs: pytest.fail("it is measured again")  # type: ignore[method-assign]
    assert headlines_per_second(engine, tmp_path) == pytest.approx(rate, abs=0.1)
    (path,) = tmp_path.glob("rate-*.json")
    path.write_text("{")
    with pytest.raises(pytest.fail.Exception):
        headlines_per_second(engine, tmp_path)


def test_a_command_before_the_first_start_does_not_measure(engine: Engine) -> None:
    assert engine.settings.backend == "auto"
    assert headlines_per_second(engine) is None


def test_all_auto_off_and_folders_are_settings() -> None:
    assert ModelSettings(second_opinion="all").second_opinion == "all"
    assert ModelSettings(second_opinion="./house").second_opinion == Path("house")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        ModelSettings(second_opinion=3)  # type: ignore[arg-type]


def info_with(weights: dict[str, float]) -> ModelInfo:
    info = read_info(SHIPPED_WEIGHTS)
    parts = [msgspec.structs.replace(part, routing=Routing(weights, 0.5)) for part in info.parts]
    return msgspec.structs.replace(info, parts=tuple(parts))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Quarterly loss per share smaller than consensus", "comparison"),
        ("营收同比下降，但好于预期", "comparison"),
        ("Insiders pledge more shares", "holder"),
        ("控股股东拟减持不超过2%", "holder"),
        ("The firm denies a report of a default", "unreal"),
        ("交易所澄清：传闻不实", "unreal"),
        ("Revenue beats but outlook is cut", "contrast"),
        ("利润增长，然而来自一次性收益", "contrast"),
        ("Shares pare early gains", "turn"),
        ("早盘回吐全部涨幅", "turn"),
        ("Government bans exports of the metal", "policy"),
        ("*ST明曜申请撤销", "policy"),
        ("$ALDR to the moon 🚀", "post"),
        ("又跌停了[流泪]", "post"),
        ("Stocks to watch on Monday", "list"),
        ("今日财经日历一览", "list"),
    ],
)
def test_the_kinds_of_text_that_small_models_get_wrong_are_known_by_their_words(text: str, kind: str) -> None:
    assert kind in routing.kinds(text)


def test_plain_headlines_have_no_cue() -> None:
    assert routing.kinds("Alderbrook opens a store in Leeds") == set()
    assert routing.kinds("明曜光电发布年报") == set()
