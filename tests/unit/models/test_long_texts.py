"""Long texts: what a sentence is, and where it stands, decides how much it counts."""

import msgspec
import pytest

from models.inference import long_texts
from models.inference.engine import Engine, clean_input
from models.inference.explain import explain
from models.inference.forward import batch_inputs
from models.network import artifact
from models.network.registry import resolve
from models.settings import ModelSettings
from models.training.news_head import Piece, sentence_vectors, written
from stream.domain.documents import DocumentStatus
from stream.domain.text.cleaning import clean
from tests.press_releases import LOSS, ORDER

# Without a formula or heading that a pattern knows.
LEGAL = [
    "Whoever opens a margin account should be aware that a small move of the market can wipe out the deposit. Prices "
    "may gap, orders may be filled late, and the platform may be down when it is needed. Think about whether you can "
    "bear such losses, and ask a professional if you are in doubt. Our staff cannot tell you what to buy.",
    "Readers who support us get the full archive, fewer adverts and a mail each morning. It costs less than a coffee a "
    "week, and you may end it at any time. Tell your friends about us. Something wrong with this story? Let our "
    "standards editor know.",
    "The publisher gives no promise that what stands here is complete or free of mistakes, and will not answer for "
    "damage that follows from its use. Names of products belong to their makers. Anyone who copies these pages without "
    "leave may be taken to court.",
]
ZH_LEGAL = [
    "本文所引数据由第三方提供，我们无法保证其没有差错，读者如据此买卖，盈亏均由本人承担。本站员工不会以任何名义向您推荐个股或收取费用，谨防假冒。",
    "安装我们的应用，随时查看行情和快讯。新人登录有好礼，分享给朋友还能再领一份。有问题请给客服留言。",
]
ZH_LOSS = (
    "远洲地产周四公告称，公司未能按期兑付一笔12亿元的债券本息，构成违约。公司前三季度净亏损扩大至86亿元，销售额同比下滑47%。"
    "评级机构下调其信用等级。受消息影响，公司股票跌停，多家银行申请冻结其资产。"
)


def score(engine: Engine, text: str) -> float:
    (prediction,) = engine.classify([text])
    assert prediction.score is not None
    return prediction.score


@pytest.mark.parametrize("legal", LEGAL)
@pytest.mark.parametrize("news", [ORDER, LOSS])
def test_boilerplate_that_no_pattern_knows_does_not_outvote_the_news(
    engine: Engine, news: str, legal: str
) -> None:
    alone = score(engine, news)
    assert score(engine, f"{news}\n{legal}") == pytest.approx(alone, abs=0.15)
    assert score(engine, f"{legal}\n{news}") == pytest.approx(alone, abs=0.25)
    assert score(engine, f"{news} {' '.join(LEGAL)}") == pytest.approx(alone, abs=0.25)


@pytest.mark.parametrize("legal", ZH_LEGAL)
def test_chinese_boilerplate_does_not_outvote_the_news(engine: Engine, legal: str) -> None:
    assert score(engine, f"{ZH_LOSS}\n{legal}") == pytest.approx(score(engine, ZH_LOSS), abs=0.25)


def test_boilerplate_alone_says_nothing(engine: Engine) -> None:
    predictions = engine.classify(["\n".join(LEGAL), LEGAL[0]])
    for prediction in predictions:
        assert (prediction.sentiment, prediction.score) == ("neutral", 0)
        assert prediction.status is DocumentStatus.UNCERTAIN
    assert explain(engine, LEGAL[0]).words == ()


def test_the_lead_counts_more_than_the_background(engine: Engine) -> None:
    good = "Brightmoor wins a record order and raises its outlook. Its shares jump to a record high."
    bad = "Alderbrook warns of a loss and cuts its dividend. Its shares plunge to a ten-year low."
    filler = "The rail industry employs half a million people on the continent. Most trains are built in six plants. "
    background = filler * 3
    first, second = score(engine, f"{good} {background}{bad}"), score(engine, f"{bad} {background}{good}")
    assert first - second > 0.5


def test_a_headline_has_no_weights_and_a_long_text_has_those_of_its_own_alone(engine: Engine) -> None:
    texts = ["Alderbrook shares plunge", f"{ORDER}\n{LEGAL[0]}", LOSS]
    items = engine.tokenizer.tokenize([clean_input(clean(text), None) for text in texts]).texts
    assert long_texts.token_sentences(items[0]) is None
    together = engine.classify(texts)
    engine_of_one = [engine.classify([text])[0] for text in texts]
    assert [p.score for p in together] == pytest.approx([p.score for p in engine_of_one], abs=0.01)
    classifier = items[0].part.network.classifier
    hidden = classifier.encode(batch_inputs(items[:1]))
    assert long_texts.weigh(hidden, items[:1]) == (hidden, [1.0])


def test_a_model_without_the_head_reads_all_sentences_alike() -> None:
    model = artifact.load(resolve(ModelSettings().weights))
    parts = [
        artifact.Part(msgspec.structs.replace(part.info, news_head=()), part.network) for part in model.parts
    ]
    engine = Engine(artifact.LoadedModel(model.info, tuple(parts)), ModelSettings())
    (prediction,) = engine.classify(["\n".join(LEGAL)])
    assert prediction.score != 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_head_is_learned_from_boilerplate_and_from_news_of_the_same_things(language: str) -> None:
    boilerplate, news = written(language)
    assert len(boilerplate) >= 50 and len(news) >= 20
    assert len({*boilerplate, *news}) == len(boilerplate) + len(news)
    assert written("xx") == ([], [])


def test_sentences_get_the_mean_vector_of_their_tokens_and_the_label_of_their_piece(engine: Engine) -> None:
    part = engine.tokenizer.part("en")
    documents = [[Piece("Profit rose. Costs fell.", False), Piece("You may lose money.", True)]]
    vectors, labels = sentence_vectors(part.network, documents, part.info.max_tokens)
    assert vectors.shape == (3, len(part.info.news_head) - 1)
    assert labels.tolist() == [False, False, True]
