import hashlib
import json

import pytest

from models.entities.gazetteer import Gazetteer
from tools.entity_labels import Counts
from tools.exact_names import exact_names, without_legal_form
from tools.score_entities import score_labels, score_names

LISTS = {
    "us_listed.csv": "rank,ticker,exchange,name,cik\n1,AAPL,Nasdaq,Apple Inc.,320193\n2,F,NYSE,FORD MOTOR CO,37996\n",
    "cn_listed.csv": (
        "code,short_name,full_name,english_name,industry\n"
        '600519.SH,贵州茅台,贵州茅台酒股份有限公司,"Kweichow Moutai Co.,Ltd.",白酒\n'
    ),
    "world_listed.csv": (
        "symbol,name,exchange,country,size,sector,isin\nSAP.DE,SAP SE,GER,Germany,Large Cap,Technology,DE0007164600\n"
    ),
}
CHINESE = {
    "text": "今日贵州茅台与某某集团签约",
    "names": [
        {"text": "贵州茅台", "kind": "Stock", "start": 2, "end": 6},
        {"text": "某某集团", "kind": "Corporate", "start": 7, "end": 11},
        {"text": "贵州茅台", "kind": "Market", "start": 2, "end": 6},
    ],
}
ENGLISH = {
    "text": "Ford Motor, Fordham and SAP SE meet Apple inc.",
    "entities": {"Ford Motor": "neutral", "SAP SE": "neutral", "Apple Inc.": "positive", "Nobody": "neutral"},
}


@pytest.fixture
def data(tmp_path):
    for folder in ("entities", "zh", "sentiment"):
        (tmp_path / folder).mkdir()
    for name, content in LISTS.items():
        (tmp_path / "entities" / name).write_text(content, encoding="utf-8")
    (tmp_path / "zh/cfsc_names_dev.jsonl").write_text(json.dumps(CHINESE) + "\n", encoding="utf-8")
    (tmp_path / "sentiment/sentfin_entities.jsonl").write_text(json.dumps(ENGLISH) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def gazetteer():
    return Gazetteer.load()


@pytest.fixture
def labels(tmp_path):
    text = ENGLISH["text"]
    row = {
        "file": "sentiment/sentfin_entities.jsonl",
        "row": 0,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "lang": "en",
        "hard": True,
        "mentions": [{"start": 0, "end": 10, "id": "XNYS:F"}, {"start": 12, "end": 19, "id": None}],
    }
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def test_names_that_the_lists_have_are_found_with_their_place_and_tickers(data):
    found = {(name.name, name.span, name.match, *name.tickers) for name in exact_names(data)}
    assert found == {
        ("贵州茅台", (2, 6), "as written", "XSHG:600519"),
        ("SAP SE", (24, 30), "as written", "XETR:SAP"),
        ("Apple Inc.", (36, 46), "as written", "XNAS:AAPL"),
        ("Ford Motor", (0, 10), "without the legal form", "XNYS:F"),
    }


@pytest.mark.parametrize(
    ("name", "without"),
    [("FORD MOTOR CO", "ford motor"), ("Kweichow Moutai Co.,Ltd.", "kweichow moutai"), ("Costco", "costco")],
)
def test_all_legal_forms_at_the_end_of_a_name_are_left_out(name, without):
    assert without_legal_form(name) == without


def test_a_name_is_found_if_a_link_to_its_company_overlaps_it(data, gazetteer):
    def find(text, lang):
        return {"XSHG:600519": [(2, 6)]} if lang == "zh" else {"XNYS:F": [(12, 16)], "XNAS:AAPL": [(36, 41)]}

    counts, errors = score_names(exact_names(data), find, gazetteer)
    assert counts["zh/cfsc_names_dev.jsonl, as written"] == Counts(right=1)
    assert counts["sentiment/sentfin_entities.jsonl, as written"] == Counts(right=1, missed=1)
    assert counts["sentiment/sentfin_entities.jsonl, without the legal form"] == Counts(missed=1)
    assert len(errors) == 2


def test_scores_are_by_language_and_difficulty_with_a_line_for_each_error(data, labels, gazetteer):
    scores, errors = score_labels(data, labels, lambda text, lang: {"XNYS:F": [(12, 19)]}, gazetteer)
    assert set(scores) == {"all", "en", "hard", "en hard"}
    assert scores["all"].spans == Counts(wrong=1, missed=1)
    assert errors[0].startswith("wrong XNYS:F: Ford Motor, [Fordham] and SAP")


def test_a_text_that_is_not_the_labelled_one_is_refused(data, labels, gazetteer):
    path = data / "sentiment/sentfin_entities.jsonl"
    path.write_text(json.dumps(ENGLISH | {"text": "Another text"}) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="not the text that was labelled"):
        score_labels(data, labels, lambda text, lang: {}, gazetteer)
