"""The tables of places and of Chinese names that tell events apart."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from importlib import resources

import pytest

from stream.stories import lookup

BLOCS = {
    "africa",
    "arctic",
    "asean",
    "asia",
    "balkans",
    "baltics",
    "caribbean",
    "central-asia",
    "east-asia",
    "eastern-europe",
    "eu",
    "euro-zone",
    "gulf-states",
    "horn-of-africa",
    "latin-america",
    "middle-east",
    "nordics",
    "north-america",
    "sahel",
    "south-america",
    "south-asia",
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def rows(name: str) -> list[dict[str, str]]:
    text = resources.files("stream.stories").joinpath(name).read_text(encoding="utf-8")
    assert text.endswith("\n") and "\r" not in text
    return list(csv.DictReader(text.splitlines(), strict=True))


def variants(cell: str) -> list[str]:
    return cell.split(";") if cell else []


def repeated(values: Iterable[str]) -> list[str]:
    return [value for value, times in Counter(values).items() if times > 1]


PLACES, NAMES = rows("places.csv"), rows("names_zh.csv")
VARIANTS = {
    "places": [v for row in PLACES for v in variants(row["english"]) + variants(row["chinese"])],
    "names": [v for row in NAMES for v in variants(row["names"])],
}


def test_the_tables_have_their_columns_and_enough_rows() -> None:
    assert {tuple(row) for row in PLACES} == {("id", "english", "chinese")}
    assert {tuple(row) for row in NAMES} == {("id", "names")}
    assert all(value is not None for row in PLACES + NAMES for value in row.values())
    assert len(PLACES) >= 2500 and len(NAMES) >= 2000


@pytest.mark.parametrize("table", [PLACES, NAMES], ids=["places", "names"])
def test_every_id_is_a_slug_of_its_own(table: list[dict[str, str]]) -> None:
    ids = [row["id"] for row in table]
    assert not repeated(ids)
    assert [name for name in ids if not SLUG.fullmatch(name)] == []


@pytest.mark.parametrize("table", ["places", "names"])
def test_no_variant_is_of_two_rows_even_in_another_case(table: str) -> None:
    assert repeated(variant.casefold() for variant in VARIANTS[table]) == []


@pytest.mark.parametrize("table", ["places", "names"])
def test_a_variant_has_two_characters_or_more_and_no_space_around_it(table: str) -> None:
    bad = [variant for variant in VARIANTS[table] if len(variant) < 2 or variant != variant.strip()]
    assert bad == []


def test_no_name_is_a_place() -> None:
    assert {v.casefold() for v in VARIANTS["names"]} & {v.casefold() for v in VARIANTS["places"]} == set()


def test_each_language_has_its_column() -> None:
    for row in PLACES:
        assert row["english"] or row["chinese"], row
        assert not CHINESE.search(row["english"]), row
        assert all(CHINESE.search(variant) for variant in variants(row["chinese"])), row
    assert all(variants(row["names"]) for row in NAMES)


def test_every_city_and_region_is_in_a_country_of_the_table() -> None:
    ids = [row["id"] for row in PLACES]
    countries = {name for name in ids if len(name) == 2} - BLOCS
    parents = {name.partition("-")[0] for name in ids if "-" in name and name not in BLOCS}
    assert parents - countries == {"sea"}
    assert set(ids) >= BLOCS


def test_every_country_of_the_world_has_a_name_in_both_languages() -> None:
    countries = [row for row in PLACES if len(row["id"]) == 2]
    assert len(countries) >= 250
    assert [row["id"] for row in countries if not (row["english"] and row["chinese"])] == []


@pytest.mark.parametrize(
    "texts",
    [
        ("Valencia", "Emilia-Romagna"),
        ("China", "South Korea", "North Korea"),
        ("Kharkiv", "Odesa", "Gaza", "West Bank"),
        ("积石山", "定日县", "泸定"),
        ("河南", "河北", "海南", "湖南"),
        ("印度", "印尼", "印度洋"),
        ("蒙古", "内蒙古"),
        ("Sudan", "South Sudan", "Port Sudan"),
        ("Washington", "Washington state"),
        ("Red Sea", "Black Sea", "Strait of Hormuz"),
    ],
)
def test_places_that_look_alike_are_rows_of_their_own(texts: tuple[str, ...]) -> None:
    of = {v: row["id"] for row in PLACES for v in variants(row["english"]) + variants(row["chinese"])}
    assert len({of[text] for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("first", "second"),
    [("Japanese", "日本"), ("S.Korea", "韩国"), ("U.S.", "美国"), ("British", "英国"), ("Tibetan", "西藏")],
)
def test_both_languages_and_all_forms_of_a_place_are_in_one_row(first: str, second: str) -> None:
    of = {v: row["id"] for row in PLACES for v in variants(row["english"]) + variants(row["chinese"])}
    assert of[first] == of[second]


@pytest.mark.parametrize(
    "text",
    [
        "京东营收增长",  # not Dongying
        "网点服务安全",  # not Muan
        "国内江苏企业",  # not Neijiang
        "据报道指出",  # not the Dow Jones index
        "加强生产管理",  # not Johnson & Johnson
        "7日立案调查",  # not Hitachi
        "高通胀压力",  # not Qualcomm
        "公募基金华丽转身",  # not Jinhua
        "沿海地区经济",  # not Haiti
        "截至目前海外订单",  # not Qianhai
        "最新余额",  # not Xinyu
        "特定日期",  # not Dingri
        "从江苏出发",  # not Congjiang
        "学习水平提高",  # not Xishui
        "组织金融机构",  # not Zhijin
        "搬迁安置补偿",  # not Qian'an
        "多项城市更新",  # not Xiangcheng
        "面临高温考验",  # not Lingao
        "这个旧项目",  # not Gejiu
        "供应城市居民",  # not Yingcheng
        "沿海城市港口",  # not Haicheng or Haikou
    ],
)
def test_a_common_phrase_contains_no_place_or_name(text: str) -> None:
    chinese = {v for v in VARIANTS["places"] + VARIANTS["names"] if CHINESE.search(v)}
    assert [v for v in chinese if v in text] in ([], ["京东"], ["江苏"])


@pytest.mark.parametrize(
    "word", ["Nice", "Reading", "Mobile", "Orange", "Jordan", "Chad", "Split", "Male", "Jos", "德州", "和田"]
)
def test_a_word_that_is_mostly_something_else_is_no_place(word: str) -> None:
    assert word not in VARIANTS["places"]


def test_every_place_is_found_where_a_text_names_it() -> None:
    missed = [
        (row["id"], variant)
        for row in PLACES
        for variant in variants(row["english"]) + variants(row["chinese"])
        if row["id"]
        not in {found.id for found in lookup.find(f"today {variant}", lookup.places(), has_han=True)}
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Rates in the euro zone fall", "euro-zone"),
        ("Euro zone inflation eases", "euro-zone"),
        ("Flights to Hong Kong resume", "hk"),
        ("flights to hong kong resume", None),
        ("Central bank holds rates", None),
        ("Rates fall in the south", None),
    ],
)
def test_a_place_is_written_as_the_table_has_it(text: str, place: str | None) -> None:
    assert [found.id for found in lookup.find(text, lookup.places(), has_han=False)] == [place] * bool(place)
