"""The text to classify, and the way back to the text as it was sent."""

import sys
import time
from subprocess import run

import pytest

from stream.domain.text.cleaning import MOST_CHARACTERS, CleanText, clean

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
    ("Corvane wins<script>\n\nif (loss) { x()", "Corvane wins"),
    ("Corvane wins<script>window.loss = window.loss || [];", "Corvane wins"),
    ("Corvane wins<script>(function(w,d){w.loss=1", "Corvane wins"),
    ("Corvane wins<style>\n.loss, p > b {color: red", "Corvane wins"),
    ("Corvane wins<script>loss({a: 1})\n\nShares rise", "Corvane wins\nShares rise"),
    ("A <script> tag bug cost $1bn; shares fall 20%, profit = 0", "A\ntag bug cost $1bn; shares fall 20%, profit = 0"),
    ("Pike's <style> of management is poor; shares plunge", "Pike's\nof management is poor; shares plunge"),
    ("A bug in <script> (loss: $1bn); margin = 2%", "A bug in\n(loss: $1bn); margin = 2%"),
    ("A <script> fault<script>var loss = 1", "A\nfault"),
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


HOSTILE = [
    " ", "\t", "\n", " \n", "\n \t", "\u3000", "x  ", "<", "<b ", "<B>", "<A:B>", "</B", "<!--", "<script>", "<script>{", "<style>\n",
    "<nav>", "<p title='", '<p "', "<p a=", "-a", "&", "&#0", "amp;", "&nbsp;", "&l&lt;", "&amp;lt;", "\u200b", "\xad", "\x1b[1;", "\x00",
    "\\u", "\\u0041", "\ud83d", "- ", "• ", "1、", "（1）", "“", '"', "=", "===\n", "[", "【", "])", "🤷", "🤷\u200d", ".", "。", ".”", ". ", "，",
    "é", "Ã", "Ã©", "â€™", "±³", "±³½¿ ", "鍖楄", "鈥檚 ", "\ufffd", "風", "風險 ", "Ａ", "cookies ", "we use cookies ", "not be advice ",
    "forward-looking statement and results ", "contact a@b ", "a@", "About ACME\n", "Disclaimer:\n", "may differ materially. ", "could if. ",
    "编辑：", "风险提示 ", "关注", "1", "A", "&nbsp;1、<b>\u200b ", "- \n“1、[", "Ã©\u200b風 <B>",
]  # fmt: skip
# What stands around a run so that every step of the cleaning reads it.
AROUND = [
    ("<p>a", "x</p>"), ("Profit rises\n- ", "we use cookies"), ("\n1、", "x cookies\n"), ("风险\n", "x 声明\n"), ("\n“", "x\n"),
    ("forward-looking statement: ", " differ\n"), ("it’s Ã© ", "&amp;"), ("<p data-a", "x <b>y"),
]  # fmt: skip


def of_length(length: int, repeated: str) -> str:
    return repeated * (length // len(repeated))


def takes(text: str) -> float:
    started = time.process_time()
    clean(text)
    return time.process_time() - started


def assert_in_proportion(short: str, long: str) -> None:
    """Twice the length takes about twice the time, once in three times at least; a twentieth of a second is noise."""
    times = ((takes(short), takes(long)) for _ in range(3))
    assert any(twice < 3 * once + 0.05 for once, twice in times)


@pytest.mark.parametrize("repeated", HOSTILE, ids=ascii)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(repeated: str) -> None:
    assert_in_proportion(of_length(100_000, repeated), of_length(200_000, repeated))


@pytest.mark.parametrize("repeated", HOSTILE, ids=ascii)
def test_hostile_runs_inside_a_text_take_time_in_proportion_to_their_length(repeated: str) -> None:
    short, long = (
        "".join(before + of_length(length, repeated) + after for before, after in AROUND)
        for length in (4_000, 8_000)
    )
    assert_in_proportion(short, long)


def test_of_a_text_that_is_too_long_only_the_beginning_is_read() -> None:
    sent = "<b>Corvane</b> " + "wins," * 60_000
    cleaned = clean(sent)
    assert cleaned.truncated
    assert cleaned.sent is sent
    assert cleaned.text == clean(sent[:MOST_CHARACTERS]).text
    assert cleaned.sent_span(0, 7) == (3, 10)
    assert cleaned.sent_span(len(cleaned.text) - 1, len(cleaned.text)) == (
        MOST_CHARACTERS - 1,
        MOST_CHARACTERS,
    )
    first, last = cleaned.clean_span(len(sent) - 5, len(sent))
    assert first == last == len(cleaned.text)
    plain = clean("wins " * 60_000)
    assert len(plain.text) == MOST_CHARACTERS
    assert plain.clean_span(299_000, 299_004) == (MOST_CHARACTERS, MOST_CHARACTERS)
    assert not clean("wins " * 40_000).truncated


def test_plain_texts_load_neither_of_the_large_libraries() -> None:
    program = (
        "import sys; from stream.domain.text.cleaning import clean;"
        "clean('AT&amp;T <b>up</b> café'); clean('公司业绩大增');"
        "print({'ftfy', 'opencc'} & set(sys.modules))"
    )
    done = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
