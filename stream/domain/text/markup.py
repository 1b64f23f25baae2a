"""HTML in the texts of feeds: what to replace so that the text reads as in a browser.

Not a parser: a text is taken for HTML only where it has a tag of a known name, so that `a<b`, `< 5 %` and
`<ACME.N>` stay.  Every pattern takes time in proportion to the text.
"""

import html
import re
from collections.abc import Container, Iterator
from html.entities import html5

from stream.domain.text.edits import Edit

# Elements whose content is no text, or no news.
DROPPED = frozenset([
    "button", "footer", "head", "iframe", "math", "nav", "noscript", "object", "script", "select", "style",
    "svg", "template", "textarea",
])  # fmt: skip
# Elements that may lack their end because the feed cut the text, and how the code begins that follows then.
# In a sentence that mentions the tag, words follow it, even if a semicolon or an equals sign comes later.
CODE = {
    "script": re.compile(
        r"""
        (?: /[/*] | ["']use\ strict | [!(]?\(*(?:async\s)?\s*function\b\s*[\w$]*\s*\( | \(?\(\)\s*=>
             | (?:var|let|const)\s+[\w$]++\s*(?:[=,;]|\Z) | (?:if|for|while|switch)\s*\(
             | [\w$]++(?:\.[\w$]++|\[[^\[\]\s]{1,80}\])*+(?:\(|\s*(?:\|\||\+)?=) )
        | [^{}<]{0,200}+ \{
        """,
        re.VERBOSE,
    ),
    "style": re.compile(r"/\*|@[a-z]|[^{}<]{0,200}+\{"),
}
# So much of the content shows whether it is code.
CODE_SEEN = 400
NOT_BLANK = re.compile(r"\S")
BLANK_LINE = re.compile(r"\n[^\S\n]*+\n")
# The end tags of names in capitals.
CAPITAL_END = re.compile(r"</([A-Z][A-Z0-9:-]*+)>")
INLINE = frozenset([
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
    "i", "img", "ins", "kbd", "label", "mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span",
    "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
])  # fmt: skip
CELLS = frozenset(("td", "th"))
BLOCKS = frozenset([
    "address", "area", "article", "aside", "audio", "base", "blockquote", "body", "br", "canvas",
    "caption", "center", "col", "colgroup", "dd", "details", "dialog", "div", "dl", "dt", "embed",
    "fieldset", "figcaption", "figure", "form", "frame", "frameset", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hgroup", "hr", "html", "input", "legend", "li", "link", "main", "map", "menu", "meta",
    "meter", "ol", "optgroup", "option", "output", "p", "param", "picture", "pre", "progress", "section",
    "source", "summary", "table", "tbody", "tfoot", "thead", "title", "tr", "track", "ul", "video",
])  # fmt: skip
NAMES = INLINE | CELLS | BLOCKS | DROPPED
# Upper-case start tags that are seldom anything else.  Others (<META>, <F>) are also how tickers are written.
OLD_STYLE = frozenset(("P", "BR", "HR", "LI", "DIV", "SPAN", "IMG", "TD", "TR"))
TAG = re.compile(
    r"""
    <!--  |  <!\[CDATA\[  |  \]\]>  |  <!doctype\b[^<>]*>  |  <\?xml\b[^<>]*>
    | <(?P<end>/?)(?P<name>[a-z][a-z0-9]*(?P<custom>(?:[:-][a-z0-9]+)+)?)
      (?P<rest>
        # Attributes: one with a value, or one of those without.
        \s+ (?:[a-z_:@*#][\w:.@*#-]*\s*=
              |(?:async|defer|disabled|hidden|controls|checked|nowrap|required|selected|itemscope
                 |allowfullscreen)\b|data-[\w-]++)
        (?: (?:[^<>"']|"[^"<]*"|'[^'<]*')*+ > | [^<>]*+ > )
      | \s*/?>
      )
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A tag that a feed cut off with the end of the text.
CUT_TAG = re.compile(r"<(?:/[A-Za-z]\w*|[A-Za-z]\w*\s+[\w:-]+\s*=[^<>]*)\Z")
# An entity, also one whose ampersand was escaped again and again.
ENTITY = re.compile(
    r"""
    &(?:\ ?amp\ ?;|\#0*38;|\#[xX]0*26;)*+
    (?: (?P<number>\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}) ;
      | (?P<name>[A-Za-z][A-Za-z0-9]{1,31}) ;
      | (?P<open>\#[0-9]{2,7}(?![0-9])|\#[xX][0-9A-Fa-f]{2,6}(?!\w))
      | (?P<legacy>amp|lt|gt|quot|nbsp) (?![\w=])
      | \ (?P<spaced>lt|gt|quot|nbsp|\#[0-9]{2,5})\ ?;
    )
    | &(?:\ ?amp\ ?;|\#0*38;|\#[xX]0*26;)++
    """,
    re.VERBOSE,
)
# Each begins where its run of blanks begins: a run without a line end is read once, not once per blank.
BLANKS = re.compile(r"\A\s+|(?<!\s)\s+\Z|(?<![^\S\n])[^\S\n]*\n\s*")


def tags(text: str) -> Iterator[Edit]:
    """Tags, comments, and the content of elements such as scripts."""
    at = 0
    unclosed: set[str] = set()
    capital_ends = frozenset(CAPITAL_END.findall(text))
    while (match := TAG.search(text, at)) is not None:
        start, at = match.span()
        name = (match["name"] or "").lower()
        if not name:
            closed = text.find("-->", at) if match[0] == "<!--" and "--" not in unclosed else -1
            if closed >= 0:
                at = closed + 3
            elif match[0] == "<!--":
                unclosed.add("--")
            yield start, at, ""
        elif match["custom"] or name in NAMES:
            if _is_word(match, capital_ends):
                continue
            if name in DROPPED and not match["end"] and not match[0].endswith("/>"):
                at = _content_end(text, at, name, unclosed)
            yield start, at, _instead(name, match["custom"])
    last = text.rfind("<", at)
    if last >= 0 and CUT_TAG.match(text, last):
        yield last, len(text), ""


def _content_end(text: str, at: int, name: str, unclosed: set[str]) -> int:
    """Where the element ends whose content begins at `at`: there if it is none.

    `unclosed` gets the names of those that have no end tag from here on.
    """
    if name not in unclosed:
        end_tag = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, at)
        if end_tag is not None:
            return end_tag.end()
        unclosed.add(name)
    if name not in CODE:
        return at
    first = NOT_BLANK.search(text, at)
    if first is None:
        return at
    start = first.start()
    if CODE[name].match(text, start, _paragraph_end(text, start, start + CODE_SEEN)) is None:
        return at
    # Nobody knows where the code ends if the end tag is missing, but news follows in a paragraph of its own.
    return _paragraph_end(text, start, len(text))


def _paragraph_end(text: str, start: int, stop: int) -> int:
    blank_line = BLANK_LINE.search(text, start, stop)
    return blank_line.start() if blank_line else stop


def _is_word(match: re.Match[str], capital_ends: Container[str]) -> bool:
    """Whether this is a ticker or other word in angle brackets, rather than an old-style tag."""
    name, is_bare = match["name"], match[0].endswith(match["name"] + ">")
    is_start = is_bare and not match["end"] and name.isupper()
    return is_start and name not in OLD_STYLE and name not in capital_ends


def _instead(name: str, custom: str | None) -> str:
    if name in INLINE or custom:
        return ""
    return " " if name in CELLS else "\n"


def blank_lines(text: str) -> Iterator[Edit]:
    """Blank lines, blanks around line ends, and those at both ends of the text."""
    for match in BLANKS.finditer(text):
        is_end = match.start() == 0 or match.end() == len(text)
        yield (*match.span(), "" if is_end else "\n")


def entities(text: str) -> Iterator[Edit]:
    """Entities of HTML that end in a semicolon, and the few that are often sent without one."""
    for match in ENTITY.finditer(text):
        new = _character(match)
        if new is not None:
            yield (*match.span(), new)


def _character(match: re.Match[str]) -> str | None:
    number = match["number"] or match["open"]
    name = match["name"] or match["legacy"] or match["spaced"]
    if number or (name and name.startswith("#")):
        return html.unescape(f"&{number or name};")
    if not name:
        return "&"
    if f"{name};" in html5:
        return html5[f"{name};"]
    # Some feeds write everything in capitals.
    if name.isupper() and f"{name.lower()};" in html5:
        return html5[f"{name.lower()};"].upper()
    # The ampersand alone was escaped, as in "R&amp;D;".
    return None if match[0] == f"&{name};" else f"&{name};"
