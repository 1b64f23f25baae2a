"""How much a text is about each of its entities."""

import re
import time

import pytest

from models.entities.relevance import SYMBOLS_ONLY, relevances

TICKERS = [f"QX{chr(65 + n // 6)}{chr(65 + n % 6)}" for n in range(30)]
ARTICLE = (
    "Brightmoor cuts its forecast\n"
    "Brightmoor expects lower sales this year. The group blames weak demand. Costs were higher too. "
    "Brightmoor will close two plants. Analysts had hoped for more. The shares lost a tenth. "
    "A rival, Alderbrook, said it saw no change. Brightmoor reports in May."
)


def relevance(text: str, *names: str, title: int = 0) -> list[int]:
    """The relevance of each name wherever the text has it."""
    return relevances([[m.span() for m in re.finditer(re.escape(name), text)] for name in names], text, title)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("Brightmoor soars", ["Brightmoor"], [100]),
        ("Shares of Brightmoor soar", ["Brightmoor"], [100]),
        ("Regulators have opened a case against Brightmoor", ["Brightmoor"], [85]),
        ("Brightmoor sues Alderbrook over patents", ["Brightmoor", "Alderbrook"], [100, 85]),
        ("Brightmoor, Alderbrook and Quantara fall", ["Brightmoor", "Alderbrook", "Quantara"], [100, 85, 85]),
        ("Brightmoor Inc. sues Alderbrook", ["Brightmoor Inc.", "Alderbrook"], [100, 85]),
        ("星海股份、北陆石化股价下跌", ["星海股份", "北陆石化"], [100, 85]),
        ("公告说明。监管机构对星海股份立案调查", ["星海股份"], [80]),
    ],
)
def test_a_headline_is_about_the_few_that_it_names(text: str, names: list[str], expected: list[int]) -> None:
    assert relevance(text, *names) == expected


def test_a_passing_mention_in_the_body_has_a_low_relevance() -> None:
    subject, rival = relevance(ARTICLE, "Brightmoor", "Alderbrook", title=28)
    assert subject == 100 and 10 <= rival <= 40


def test_the_later_the_first_mention_the_lower_the_relevance() -> None:
    filler = "Markets were calm. "
    found = [
        relevance(f"Market report\n{filler * n}Then news of Brightmoor came out", "Brightmoor", title=13)[0]
        for n in (0, 1, 5, 50)
    ]
    assert found == sorted(found, reverse=True) and len(set(found)) == 4 and found[-1] >= 20


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"${ticker}" for ticker in TICKERS),
        ", ".join(TICKERS),
        "\n".join(f"{ticker} {n}.25 +{n}.1%" for n, ticker in enumerate(TICKERS)),
        "".join(f"#{ticker}#" for ticker in TICKERS),
        "、".join(TICKERS),
        ", ".join(f'<a href="/q?s={n}">{ticker}</a>' for n, ticker in enumerate(TICKERS)),
    ],
)
def test_thirty_tickers_under_a_text_are_not_thirty_opinions(text: str) -> None:
    subject, *listed = relevance(f"Brightmoor beats estimates\n{text}", "Brightmoor", *TICKERS, title=26)
    assert subject >= 80
    assert max(listed) < 20


def test_a_list_counts_its_unknown_members_too() -> None:
    movers = "Movers: " + " ".join(f"${ticker}" for ticker in TICKERS)
    assert max(relevance(movers, *TICKERS[:3])) < 20


def test_a_company_with_its_ticker_is_no_list() -> None:
    text = "Brightmoor ($BRMR), Alderbrook ($ALDB) and Quantara ($QNTR) fall"
    names = [["Brightmoor", "BRMR"], ["Alderbrook", "ALDB"], ["Quantara", "QNTR"]]
    spans = [[m.span() for name in own for m in re.finditer(name, text)] for own in names]
    assert relevances(spans, text) == [100, 85, 85]


@pytest.mark.parametrize("between", [", ", " &amp; ", "; ", "、", " $", " 1.5, "])
def test_names_that_are_repeated_are_no_longer_a_list(between: str) -> None:
    text = between.join(["Brightmoor", "Alderbrook"] * 50)
    assert min(relevance(text, "Brightmoor", "Alderbrook")) >= 60


def test_a_listed_company_that_the_text_also_discusses_is_relevant() -> None:
    text = f"Brightmoor beats estimates. ${' $'.join(TICKERS[:9])} $Brightmoor"
    assert relevance(text, "Brightmoor", *TICKERS[:9])[0] >= 80


def test_symbols_without_a_mention_are_less_relevant_than_names() -> None:
    assert relevances([[]], "Profit doubles") == [SYMBOLS_ONLY]
    assert relevances([[(0, 5)], []], "Nokia gains") == [100, SYMBOLS_ONLY]
    assert max(relevances([[]] * 30, "Movers")) < 20
    assert relevances([], "Nothing") == []


@pytest.mark.parametrize("piece", ["$1 $A ", "$123 ", "A ", "<a ", "& ", ", ", ". ", "\n", "$"])
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    text = "ABC ABD " + piece * (100_000 // len(piece)) + " word ABC"
    started = time.process_time()
    relevance(text, "ABC", "ABD")
    relevances([[(n, n + 1) for n in range(0, 100_000, 2)], [(0, 2)]], text)
    assert time.process_time() - started < 2
