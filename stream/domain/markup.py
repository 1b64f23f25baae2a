"""HTML in the texts of feeds: what to replace so that the text reads as in a browser.

Not a parser: a text is taken for HTML only where it has a tag of a known name, so that `a<b`, `< 5 %` and
`<ACME.N>` stay.  Every pattern takes time in proportion to the text.
"""

import html
import re
from collections.abc import Iterator
from html.entities import html5

# Replace the characters from start up to end.
Edit = tuple[int, int, str]

# Elements whose content is no text, or no news.
DROPPED = frozenset([
    "button", "footer", "head", "iframe", "math", "nav", "noscript", "object", "script", "select", "style",
    "svg", "template", "textarea",
])  # fmt: skip
# Elements that may lack their end because the feed cut the text; what follows is code then, not a sentence.
CODE = frozenset(("script", "style"))
CODE_SIGN = re.compile(r"[{};=]")
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
                 |allowfullscreen|data-[\w-]+)\b)
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
BLANKS = re.compile(r"\A\s+|\s+\Z|[^\S\n]*\n\s*")


def tags(text: str) -> Iterator[Edit]:
    """Tags, comments, and the content of elements such as scripts."""
    at = 0
    unclosed: set[str] = set()
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
            if _is_word(text, match):
                continue
            if name in DROPPED and not match["end"] and name not in unclosed and not match[0].endswith("/>"):
                end_tag = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, at)
                if end_tag is not None:
                    at = end_tag.end()
                elif name in CODE and CODE_SIGN.search(text, at):
                    at = len(text)
                else:
                    unclosed.add(name)
            yield start, at, _instead(name, match["custom"])
    last = text.rfind("<", at)
    if last >= 0 and CUT_TAG.match(text, last):
        yield last, len(text), ""


def _is_word(text: str, match: re.Match[str]) -> bool:
    """Whether this is a ticker or other word in angle brackets, rather than an old-style tag."""
    name, is_bare = match["name"], match[0].endswith(match["name"] + ">")
    is_start = is_bare and not match["end"] and name.isupper()
    return is_start and name not in OLD_STYLE and f"</{name}>" not in text


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
