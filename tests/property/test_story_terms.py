"""What texts that nobody wrote tell: nothing in them stops a worker."""

from hypothesis import given
from hypothesis import strategies as st

from stream.stories import lookup
from stream.stories.signature import core, signature, tokens
from stream.stories.terms import text_terms

NAMES = sorted(
    {
        word
        for table in (lookup.places(), lookup.chinese_names())
        for first, names in table.english.items()
        for word in (first, first.title(), *(" ".join(name.words).title() for name in names))
    }
    | {
        variant
        for table in (lookup.places(), lookup.chinese_names())
        for names in table.chinese.values()
        for variant, _ in names
    }
)
PARTS = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(
        ("12%", "$1.5 bn", "Q2", "2022", "2022年", "亿元", "-", "'s", ".", "“", "via", "UPDATE 1-", "http://")
    ),
    st.text(max_size=4),
)
TEXTS = st.lists(st.tuples(PARTS, st.sampled_from(("", " "))), max_size=25).map(
    lambda parts: "".join(f"{part}{blank}" for part, blank in parts)
)


@given(TEXTS)
def test_any_text_has_terms_and_a_signature(text: str) -> None:
    text = core(text)
    terms = text_terms(text, [("XNAS:ACME", 60)])
    assert all(list(kind) == sorted(set(kind)) for kind in (terms.numbers, terms.words, terms.cities))
    assert text_terms(text, [("XNAS:ACME", 60)]) == terms
    assert signature(tokens(text)) == signature(tokens(text))


@given(TEXTS)
def test_names_are_found_inside_the_text(text: str) -> None:
    for table in (lookup.places(), lookup.chinese_names()):
        found = lookup.find(text, table, has_han=True)
        assert all(0 <= one.start < one.end <= len(text) for one in found)
