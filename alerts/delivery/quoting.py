"""Texts of others in a chat: they mention nobody, link to nothing, and are shown as they were written.

An invisible character breaks up what a chat service would act on, since most of them know no other way.
Where a service renders Markdown, and Apprise does not escape it, backslashes do.
"""

import re

ZERO_WIDTH_SPACE = "\u200b"
# A mention (@here, <!channel>, <@U123>, <at id=all>), a link with or without its scheme, [text](link).
ACTIVE = re.compile(r"[@\uff20<](?=[^\s\u200b])|:(?=//)|\](?=\()|(?<=[^\W_])\.(?=[^\W\d_]{2})", re.IGNORECASE)
MARKDOWN = re.compile(r"[\\`*_\[\]()~#>|]")
# The services that render what Apprise sends as Markdown.  For others Apprise escapes it, or they show it.
RENDERS_MARKDOWN = {"discord", "fluxers", "guilded", "mmosts", "nctalks", "revolt", "ryver", "zulip"}


def inert(text: str) -> str:
    """The text with nothing in it that a chat service acts on.  It looks the same."""
    return ACTIVE.sub(lambda found: found[0] + ZERO_WIDTH_SPACE, text)


def inert_markdown(text: str) -> str:
    """The same for a service that renders Markdown: it shows the characters themselves."""
    return inert(MARKDOWN.sub(r"\\\g<0>", text))
