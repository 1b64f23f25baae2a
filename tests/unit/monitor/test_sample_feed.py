"""The sample feed: what it sends on an ordinary day and in a surge, and that its companies are linked."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
import pytest

from models.entities.gazetteer import Gazetteer
from models.entities.house import read_house
from models.entities.linker import Linker
from monitor.demo.feeder import Plan
from monitor.demo.sample import Sample, SampleFeed
from monitor.demo.world import ENTITIES, load_world
from stream.codec import Codec
from stream.domain.documents import Document, Kind, TextInput
from stream.settings import StreamSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORLD = load_world()
CODEC = Codec.from_settings(StreamSettings())


def history(run: str = "run") -> list[Sample]:
    return list(SampleFeed(run).history(NOW, timedelta(minutes=15), 2.0))


def surge(feed: SampleFeed, number: int = 160, at: datetime = NOW) -> list[Sample]:
    return [feed.surge(at) for _ in range(number)]


def decode(sample: Sample) -> Document:
    document = CODEC.decode(msgspec.json.encode(sample.message), sample.kind, NOW + timedelta(days=2))
    assert isinstance(document, Document)
    return document


def content(sample: Sample) -> str:
    return decode(sample).content


def share(samples: list[Sample], kind: Kind, lang: str) -> float:
    of_kind = [sample for sample in samples if sample.kind is kind]
    return sum(sample.message["lang"] == lang for sample in of_kind) / len(of_kind)


def test_two_runs_send_the_same_texts_under_other_ids() -> None:
    first, second = history("a"), history("b")
    assert [content(sample) for sample in first] == [content(sample) for sample in second]
    assert [sample.kind for sample in first] == [sample.kind for sample in second]
    ids = [{sample.message["id"] for sample in run} for run in (first, second)]
    assert len(ids[0]) == len(first) and not ids[0] & ids[1]
    assert history("a") == first


def test_the_texts_of_a_day_do_not_depend_on_when_a_surge_comes() -> None:
    plain, mixed = SampleFeed("a"), SampleFeed("a")
    calm = [content(plain.calm(NOW)) for _ in range(50)]
    bad = [content(plain.surge(NOW)) for _ in range(50)]
    pairs = [(content(mixed.calm(NOW)), content(mixed.surge(NOW))) for _ in range(50)]
    assert [list(texts) for texts in zip(*pairs, strict=True)] == [calm, bad]


def test_history_is_in_order_of_time_and_within_its_length() -> None:
    stamps = [decode(sample).published_at for sample in history()]
    assert len(stamps) == 1800 and stamps == sorted(stamps)
    assert NOW - timedelta(minutes=15) <= stamps[0] and stamps[-1] <= NOW


@pytest.mark.parametrize("samples", [history(), surge(SampleFeed("run"))], ids=["calm", "surge"])
def test_three_texts_in_five_are_news_and_a_quarter_of_each_kind_is_chinese(samples: list[Sample]) -> None:
    kinds = Counter(sample.kind for sample in samples)
    assert 0.55 < kinds[Kind.NEWS] / len(samples) < 0.7
    for kind in Kind:
        assert 0.2 < share(samples, kind, "zh") < 0.35, kind
        assert share(samples, kind, "zh") + share(samples, kind, "en") == 1


def test_an_ordinary_day_has_mostly_different_texts_some_events_reported_twice_and_some_copies() -> None:
    samples = history()
    originals = [sample for sample in samples if sample.copy_of is None]
    assert 0.05 < 1 - len(originals) / len(samples) < 0.2
    assert len({content(sample) for sample in originals}) > 0.98 * len(originals)
    with_text = [s for s in samples if s.kind is Kind.NEWS and decode(s).text]
    assert 0.2 < len(with_text) / sum(s.kind is Kind.NEWS for s in samples) < 0.6


def test_every_publisher_and_both_languages_of_every_company_are_in_the_feed() -> None:
    feed = SampleFeed("run")
    samples = [feed.calm(NOW) for _ in range(8000)] + surge(feed, 7 * 160)
    people = WORLD.publishers
    named = {
        p.name
        for each in (people.wires, people.syndicators, people.boards)
        for lang in each
        for p in each[lang]
    }
    assert {sample.message["source"] for sample in samples} == named
    texts = {
        lang: "\n".join(content(s) for s in samples if s.message["lang"] == lang) for lang in ("en", "zh")
    }
    for company in WORLD.companies:
        assert company.name in texts["en"] and company.chinese_name in texts["zh"], company.symbol


def test_messages_have_the_address_of_their_publisher_and_names_of_authors() -> None:
    samples = history()
    people = WORLD.publishers
    hosts = {
        p.name: p.host
        for each in (people.wires, people.syndicators, people.boards)
        for lang in each
        for p in each[lang]
    }
    documents = [decode(sample) for sample in samples]
    assert len(hosts) == len(set(hosts.values())) >= 12
    assert all(urlsplit(d.url).hostname == hosts[d.source] and d.source in hosts for d in documents)
    assert len({d.url for d in documents}) == len(documents)
    comments = [d for d in documents if d.kind is Kind.COMMENT]
    assert len({d.author for d in comments}) > 0.9 * len(comments)
    assert 0 < sum(d.author is None for d in comments) < 0.1 * len(comments)
    reporters: dict[str, set[str]] = {}
    for sample, document in zip(samples, documents, strict=True):
        if document.kind is Kind.NEWS and document.author and sample.copy_of is None:
            reporters.setdefault(document.author, set()).add(document.source)
    assert len(reporters) > 30 and all(len(sources) == 1 for sources in reporters.values())


@pytest.mark.parametrize("number", range(3))
def test_a_surge_has_texts_of_their_own_by_many_origins(number: int) -> None:
    feed = SampleFeed("run")
    for before in range(number):
        surge(feed, 100, NOW + before * timedelta(hours=4))
    plan = Plan(timedelta(minutes=15), per_second=2.0)
    length = int(plan.surge_lasts * plan.surge_per_second)
    samples = surge(feed, length, NOW + number * timedelta(hours=4))
    originals = [sample for sample in samples if sample.copy_of is None]
    # Only the figures tell two sentences of this kind apart, so they do not count.
    sentences = ["".join(c for c in content(sample) if not c.isdigit()) for sample in originals]
    assert len(sentences) == len(set(sentences)) >= 80
    news = [decode(sample) for sample in originals if sample.kind is Kind.NEWS]
    comments = [decode(sample) for sample in originals if sample.kind is Kind.COMMENT]
    assert len({d.source for d in news if d.lang == "en"}) >= 14
    assert len({d.source for d in news if d.lang == "zh"}) >= 6
    assert len({d.author for d in comments}) == len(comments) >= 30
    assert len(samples) - len(originals) >= 30


def test_the_first_texts_of_a_surge_come_from_many_origins_too() -> None:
    samples = surge(SampleFeed("run"), 60)
    news = [decode(s) for s in samples if s.kind is Kind.NEWS and s.copy_of is None]
    assert len({d.source for d in news}) >= 20


def test_each_surge_is_about_another_bank_and_the_first_about_northgate() -> None:
    feed = SampleFeed("run")
    banks = [company for company in WORLD.sector("bank") if company.home == "en"]
    assert banks[0].name == "Northgate Bank" and len(banks) * 4 > 24, "no bank fails twice in a day"
    for number, bank in enumerate(banks):
        samples = surge(feed, 40, NOW + number * timedelta(hours=4))
        for sample in samples:
            names = (bank.short, bank.chinese_name, f"${bank.symbol}")
            assert any(name.casefold() in content(sample).casefold() for name in names), content(sample)


def test_a_surge_that_goes_on_begins_another_script() -> None:
    samples = surge(SampleFeed("run"), 400)
    assert all("Northgate" not in content(sample) for sample in samples[161:250])
    originals = [content(sample) for sample in samples if sample.copy_of is None]
    assert len(originals) == len(set(originals))


def test_copies_follow_their_original_with_another_id_and_publisher_or_author() -> None:
    feed = SampleFeed("run")
    samples = [feed.calm(NOW) for _ in range(4000)] + surge(feed)
    sent: dict[str, Document] = {}
    forms = Counter[str]()
    for sample in samples:
        document = decode(sample)
        if sample.copy_of is not None:
            original = sent[sample.copy_of]
            assert document.id != original.id and document.url != original.url
            assert document.kind is original.kind and document.lang == original.lang
            if document.kind is Kind.NEWS:
                assert document.source != original.source
                assert original.title.casefold() in document.title.casefold()
                assert original.text in document.text
            else:
                assert document.author and document.author != original.author
                assert document.text.startswith("RT") and document.text.endswith(original.text)
            forms[form(document, original)] += 1
        sent[document.id] = document
    assert forms.keys() == {"same", "UPDATE", "RT", "case", "trailing source", "credit", "更新"}


def form(copy: Document, original: Document) -> str:
    """How a copy differs from its original."""
    for prefix in ("UPDATE", "RT", "更新"):
        if copy.content.startswith(prefix):
            return prefix
    if copy.content == original.content:
        return "same"
    if copy.title.isupper() and not original.title.isupper():
        return "case"
    if copy.content.endswith((f"(via {original.source})", f"（来源：{original.source}）")):
        return "credit"
    assert original.source in copy.title
    return "trailing source"


def test_every_company_of_the_texts_is_an_entity_and_every_entity_has_a_sector() -> None:
    entities = {located.entry.id for located in read_house(ENTITIES).entries["add"]}
    symbols = [symbol for sector in WORLD.texts.sectors.values() for symbol in sector]
    assert len(symbols) == len(set(symbols))
    assert entities == {f"XXXX:{symbol}" for symbol in symbols}
    assert set(WORLD.texts.chinese) < set(symbols)
    assert all(company.chinese_name and company.name != company.chinese_name for company in WORLD.companies)


def test_the_companies_take_no_name_or_ticker_of_a_real_one() -> None:
    shipped = Gazetteer.load()
    real_names = {name.text.casefold() for entity in shipped.entities.values() for name in entity.names}
    real_symbols = {t.rpartition(":")[2] for entity in shipped.entities.values() for t in entity.tickers}
    for company in WORLD.companies:
        names = {company.name, company.short, company.chinese_name}
        assert not {name.casefold() for name in names} & real_names, company
        assert company.symbol not in real_symbols


def test_companies_are_linked_by_their_names_in_both_languages() -> None:
    linker, feed = Linker(Gazetteer.load(ENTITIES)), SampleFeed("run")
    found = {"en": set[str](), "zh": set[str]()}
    for sample in [*(feed.calm(NOW) for _ in range(2500)), *surge(feed)]:
        document = decode(sample)
        # Without the symbols of the message: the names alone must do.
        links = {
            link[0] for link in linker.link(TextInput(document.content, document.lang, len(document.title)))
        }
        for company in WORLD.companies:
            if company.name in document.content or company.chinese_name in document.content:
                assert f"XXXX:{company.symbol}" in links, document.content
                found[document.lang or ""].add(company.symbol)
    assert all(len(symbols) > 40 for symbols in found.values())
