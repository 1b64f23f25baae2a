"""The text to classify, and the way back to the text as it was sent."""

import sys
import time
from subprocess import run

import pytest

from stream.domain.cleaning import CleanText, clean

UNTOUCHED = [
    "",
    "Alderbrook Foods shares plunge 20% after profit warning",
    "AT&T and S&P 500: M&A, R&D; B&Q",
    "margins < 5% > 3% of sales",
    "if a<b and c>d then buy",
    "a<b",
    "Kestrel <KSTR.N> and <META> rise, 5<6",
    "x < y & y > z",
    "https://example.org/?a=1&lt=3&copy=2",
    "line one\r\nline two\n\n  indented\ttab",
    "Société Générale naïve café — “quoted” £3bn €5 · ½",
    "Müller & Söhne: größte Übernahme",
    "公司业绩大增，股价涨停！（快讯）",
    "茅台、联通、锂电池、鑫科材料 ···· »»»» £££ ±±",
    "著名企业乾坤集团了解到业绩显著增长",
    "🤷‍♂️ 👨‍👩‍👧 to the 🌕",
    r"C:\users\report",
    "Tickers: <A>, <F>, <MAIN>",
]

READS_AS = [
    ("Harrow &amp; Pike&#8217;s loss isn&#39;t deep", "Harrow & Pike’s loss isn't deep"),
    ("up 12% &mdash; &pound;2bn &hellip; &eacute;", "up 12% — £2bn … é"),
    ("Pike &amp;amp; Co, &amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "Pike & Co, bold"),
    ("AT&amp;T;", "AT&T;"),
    ("fish &amp chips &lt 5", "fish & chips < 5"),
    ("fish & amp; chips", "fish & chips"),
    ("P&EACUTE;REZ &NBSP;", "PÉREZ  "),
    ("it&#39s &#x2019; &#150;", "it's ’ –"),
    ("a&nbsp;b", "a b"),
    ("<p><b>Corvane</b> wins</p><p>an <i>order</i></p>", "Corvane wins\nan order"),
    ("Corvane<br>wins<BR/>again", "Corvane\nwins\nagain"),
    ("<P>Old</P><B>Corvane</B>", "Old\nCorvane"),
    ("<script>var loss = 1 < 2;</script>Corvane wins<style>p{color:red}</style>", "Corvane wins"),
    ("Corvane wins<script>var loss = ", "Corvane wins"),
    ("Why a <script> tag is a risk", "Why a\ntag is a risk"),
    ("<!-- loss --><!DOCTYPE html><body>Corvane wins</body>", "Corvane wins"),
    ("<!--[if gte mso 9]><xml>loss</xml><![endif]-->Corvane wins", "Corvane wins"),
    ("<![CDATA[Corvane wins]]>", "Corvane wins"),
    ('<a href="https://example.org/?loss=1&amp;x=2" title="a > b">Corvane</a> wins', "Corvane wins"),
    ("<img src=x onerror='loss()'>Corvane wins", "Corvane wins"),
    ("<o:p>Corvane</o:p> <st1:place>wins</st1:place> <my-price>5</my-price>", "Corvane wins 5"),
    ("<td>Sales</td><td>12</td>", " Sales  12".strip()),
    ("Corvane wins <a href=\"https://exa", "Corvane wins"),
    ("<nav>Markets Losers</nav>Corvane wins<footer>Imprint</footer>", "Corvane wins"),
    ("Tarrant:\u00c2\u00a0profit, it\u00e2\u20ac\u2122s worse", "Tarrant: profit, it’s worse"),
    ("Tarrant:\u00c2 profit, it\u00e2\u20ac\u2122s worse", "Tarrant: profit, it’s worse"),
    ("Soci\u00c3\u00a9t\u00c3\u00a9 wins \u00c2\u00a32bn", "Société wins £2bn"),
    ("Soci\u00c3\u0192\u00c2\u00a9t\u00c3\u0192\u00c2\u00a9", "Société"),
    ("Tarrant 公司: it\u00e2\u20ac\u2122s worse", "Tarrant 公司: it’s worse"),
    ("北辰科技业绩大增".encode().decode("latin-1"), "北辰科技业绩大增"),
    ("北辰科技12月业绩大增".encode("gb2312").decode("latin-1"), "北辰科技12月业绩大增"),
    ("北辰科技业绩，大增了12%".encode().decode("gbk"), "北辰科技业绩，大增了12%"),
    ("北辰科技业".encode().decode("gbk", "replace"), "北辰科技\ufffd"),
    ("Tarrant’s loss isn’t deep".encode().decode("gbk"), "Tarrant’s loss isn’t deep"),
    ("it\x92s \x93worse\x94 \x85", "it’s “worse” …"),
    ("pro\u00adfit war\u200bning\ufeff \u2060\u202aup\u202c", "profit warning up"),
    ("prof\x00it\x07 \x1b[31mdown\x1b[0m", "profit down"),
    ("a\u2003b\u3000c\u202fd\u2028e", "a b c d\ne"),
    ("ＣＯＲＶＡＮＥ ２０２６", "CORVANE 2026"),
    ("𝗖𝗼𝗿𝘃𝗮𝗻𝗲 𝟏𝟐", "Corvane 12"),
    (r"It\u2019s \ud83d\ude80", "It’s 🚀"),
    ("\ud83d\ude80 up \ud83d", "🚀 up \ufffd"),
    ("虧損擴大，營業額業績漲，債務違約", "亏损扩大，营业额业绩涨，债务违约"),
    ("皇后、後來、乾燥、頭髮、發展、鐘錶", "皇后、后来、干燥、头发、发展、钟表"),
    ("北辰&lt;快讯&gt;", "北辰<快讯>"),
]  # fmt: skip


def came_from(cleaned: CleanText, words: str) -> str:
    """What was sent for these words of the clean text."""
    start = cleaned.text.index(words)
    first, last = cleaned.sent_span(start, start + len(words))
    return cleaned.sent[first:last]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_a_text_without_anything_to_clean_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.text == text
    assert cleaned.starts is None
    assert not cleaned.boilerplate


@pytest.mark.parametrize(("sent", "text"), READS_AS)
def test_a_text_reads_as_its_author_meant_it(sent: str, text: str) -> None:
    assert clean(sent).text == text
    assert clean(text).text == text


def test_words_lead_back_to_what_was_sent() -> None:
    cleaned = clean("<p>AT&amp;T: pro\u00adfit isn&#39;t <b>up</b></p>\u00c2\u00a32bn")
    assert came_from(cleaned, "AT&T") == "AT&amp;T"
    assert came_from(cleaned, "profit") == "pro\u00adfit"
    assert came_from(cleaned, "isn't") == "isn&#39;t"
    assert came_from(cleaned, "up") == "up"
    assert came_from(cleaned, "£2bn") == "\u00c2\u00a32bn"
    assert came_from(clean("公司虧損"), "亏损") == "虧損"
    wrong = "北辰科技业绩".encode().decode("latin-1")
    assert came_from(clean(wrong), "科技") == "科技".encode().decode("latin-1")
    assert came_from(clean("业绩 12".encode().decode("gbk")), "业绩") == "业绩".encode().decode("gbk")


def test_a_span_of_the_sent_text_leads_to_the_clean_words() -> None:
    sent = "<p>Harrow &amp; Pike</p> and <b>Kestrel</b>"
    cleaned = clean(sent)
    for name in ("Harrow &amp; Pike", "Kestrel"):
        start = sent.index(name)
        first, last = cleaned.clean_span(start, start + len(name))
        assert cleaned.text[first:last] == name.replace("&amp;", "&")
    assert cleaned.clean_span(0, 3) == (0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "<" * 100_000,
        "&" * 100_000,
        "<!--" * 25_000,
        "<script>" * 12_500,
        "<p title='" * 10_000,
        '<p "' * 25_000,
        "<nav>" * 20_000,
        "&" + "amp;" * 25_000,
        "&l&lt;" * 15_000,
        "é" * 100_000,
        "±³" * 50_000,
        "鍖楄" * 50_000,
        "鈥檚 " * 30_000,
        "Ã" * 100_000,
        "\\u" * 50_000,
        "。" * 100_000,
        "cookies " * 12_500,
        "forward-looking statement and results " * 2_500,
        "contact a@b " * 8_000,
        "a@" * 50_000,
        "風" * 100_000,
        " \n" * 50_000 + "<p>",
        "<p>" + "\n" * 100_000 + "x",
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_text_takes_no_more_time_than_its_length(text: str) -> None:
    started = time.process_time()
    clean(text)
    assert time.process_time() - started < 5


def test_plain_texts_load_neither_of_the_large_libraries() -> None:
    program = (
        "import sys; from stream.domain.cleaning import clean;"
        "clean('AT&amp;T <b>up</b> café'); clean('公司业绩大增');"
        "print({'ftfy', 'opencc'} & set(sys.modules))"
    )
    done = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
