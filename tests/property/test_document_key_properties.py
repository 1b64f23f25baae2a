"""What holds for the key of any document."""

import re

from hypothesis import given
from hypothesis import strategies as st

from stream.domain.documents import Kind, document_key, shorten_name

# Separators, escapes and lone surrogates are likely, and so are texts near the limits.
names = st.text(st.characters() | st.sampled_from(":/~%#|\x1f\0é\u0301\ud800"), max_size=20) | st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=3), st.integers(1, 200)
)
identities = st.tuples(st.sampled_from(Kind), names, names)


@given(identities, identities)
def test_two_documents_share_a_key_only_if_they_share_their_identity(
    one: tuple[Kind, str, str], other: tuple[Kind, str, str]
) -> None:
    assert (document_key(*one) == document_key(*other)) == (one == other)


@given(st.sampled_from(Kind), st.lists(names, min_size=2, max_size=4))
def test_no_other_division_of_the_same_characters_has_the_same_key(kind: Kind, parts: list[str]) -> None:
    for separator in ("/", ":", "~", ""):
        text = separator.join(parts)[:40]
        cuts = range(len(text) + 1)
        keys = [document_key(kind, text[:cut], text[cut:]) for cut in cuts]
        assert len(set(keys)) == len(keys)


@given(identities)
def test_a_key_is_short_and_goes_anywhere_as_it_is(identity: tuple[Kind, str, str]) -> None:
    key = document_key(*identity)
    assert re.fullmatch(r"(news|comment):[A-Za-z0-9._~-]{0,128}:[A-Za-z0-9._~-]{0,360}", key)


@given(names, names, st.integers(40, 200))
def test_a_shortened_name_fits_and_stays_different(one: str, other: str, longest: int) -> None:
    short = [shorten_name(name, longest) for name in (one, other)]
    assert all(len(name) <= longest for name in short)
    assert (short[0] == short[1]) == (one == other)
