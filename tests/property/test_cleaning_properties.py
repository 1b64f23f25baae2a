"""What holds for the clean form of any text."""

from hypothesis import given
from hypothesis import strategies as st

from stream.domain.text.cleaning import clean

PARTS = (
    "<p>", "</p>", "<b>", "<script>", "</script>", "<!--", "-->", "&amp;", "&lt;", "&gt;", "&", "#39;", "&nbsp;", "amp;",
    "<", ">", "Â", "Ã", "©", "â€™", "Ã©", "\u00e5\u008c\u0097", "\u200b", "\u00ad", "\x00", "\x1b[0m", "\u200d", "🤷", "Ａ",
    "𝗖", "\u3000", "\xa0", "虧損", "后来", "乾", "\\u2019", "\ud83d", "\ude00", "profit", "S&P 500", " ", "\n", ". ", "。", "“", "é",
    "We use cookies. ", "All rights reserved. ", "风险提示：", "Contact:\n", "About Corvane\n", "may differ materially from ",
    "锟斤拷", "±±³½¿Æ¼¼", "鍖楄景", "鈥檚", "鈥", "\ufffd", "茅",
)  # fmt: skip
texts = st.text() | st.lists(st.sampled_from(PARTS) | st.text(max_size=3)).map("".join)
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&<\\"))


@given(texts)
def test_a_clean_text_is_clean(text: str) -> None:
    once = clean(text)
    again = clean(once.text)
    assert again.text == once.text
    assert again.boilerplate == once.boilerplate


@given(texts)
def test_every_character_came_from_somewhere_in_order(text: str) -> None:
    for cleaned in (clean(text), clean(text).news):
        spans = [cleaned.sent_span(at, at + 1) for at in range(len(cleaned.text))]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert spans == sorted(spans)
        assert [end for _, end in spans] == sorted(end for _, end in spans)


@given(texts)
def test_a_span_leads_to_the_sent_text_and_back(text: str) -> None:
    cleaned = clean(text)
    for at in range(len(cleaned.text)):
        first, last = cleaned.clean_span(*cleaned.sent_span(at, at + 1))
        assert first <= at < last


@given(texts)
def test_boilerplate_is_inside_the_text_and_apart(text: str) -> None:
    cleaned = clean(text)
    places = [place for span in cleaned.boilerplate for place in span]
    assert places == sorted(set(places))
    assert not places or (places[0] >= 0 and places[-1] <= len(cleaned.text))
    assert not set(cleaned.news.text) - set(cleaned.text)


@given(plain)
def test_a_plain_text_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.text is text
    assert cleaned.starts is None
