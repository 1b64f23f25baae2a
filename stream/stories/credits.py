"""The credits of a text: publishers named where newspapers, agencies and people put who said it.

Before the text stand `Reuters:`, `(Bloomberg) --`, `NEW YORK, Nov 3 (Reuters) -`, `/PRNewswire/ --`,
`By AFP`, 【财联社】, 财联社11月3日电 and 据新华社报道; behind it `- WSJ`, `| CNBC`, `(AP)`, `via @handle`,
`Source: Dow Jones Newswires` and （来源：新华社）; around it `RT @handle:`.  Only the edges of a text are
read, and where a form can mean something else (`Apple: iPhone sales fall`, `Fed holds rates - Powell`), only
the names of known publishers count.
"""

import html
import re
from collections.abc import Iterator

from stream.stories.publishers import Publishers, name_key, plain_name, word_set

# How much of each end of a text is read, in characters, and how much of one with markup.
EDGE, MARKED_EDGE = 300, 1500
# How many lines, brackets and links at an end are looked at.
MOST_STEPS, MOST_LINES = 6, 3
# The longest name before a colon or behind a dash.
LONGEST_LABEL = 48
# The longest unknown name behind "Source:", in words, or in characters if it is not English; and how much of
# a byline is read.
MOST_WORDS, LONGEST_ZH, MOST_PARTS_OF = 4, 32, 200

TAG = re.compile(r"<[^<>]{0,500}>")
# A name in Chinese ends at a blank or a mark.
NAME_ZH = r"([^\s,，。;；:：)）】〕」》|｜丨/、<>]{2,40})"
DATE_ZH = r"(?:\d{4}\s*年)?\s*(?:\d{1,2}\s*月)?\s*\d{1,2}\s*[日号]"
MONTH = re.compile(
    r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?\s+\d"
    r"|\d\s+(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
)

# What precedes the beginning: "BREAKING: ", "UPDATE 2-", 快讯.
ALARM = re.compile(
    r"[\s*•>?？🚨🔴]*(?:\$[A-Z.]{1,6}[\s:-]+){0,6}"
    r"(?:(?:BREAKING(?: NEWS)?|JUST IN|UPDATE \d+|ALERT|EXCLUSIVE|快讯|快訊|突发|重磅)\s*[-:：|｜]\s*)?",
    re.IGNORECASE,
)
HANDLE = re.compile(r"\w{1,50}")
RETWEET = re.compile(r"\s*(?:(?:RT|MT)\s*@(\w{1,50})\s*[:：]?|[\"“]@(\w{1,50})\s*[:：])\s*")
FIRST_BRACKET = re.compile(r"\s*[\[(（【〔]([^\[\]()（）【】〔〕\n]{1,100})[\])）】〕]")
HEADLINE_ZH = re.compile(r"\s*【[^【】\n]{1,120}】\s*")
SEPARATOR = re.compile(r"[:：|｜丨\n]|[-–—](?<=\s.)[-–—]?(?=\s|[A-Z])")
DATELINE = re.compile(r"^([^()（）\n]{0,80})[(（]([^()（）\n]{2,40})[)）]\s*([-–—])?", re.MULTILINE)
SLASHES = re.compile(r"/\s?([A-Za-z0-9][A-Za-z0-9 .-]{2,30})\s?/\s*[-–—]")
BYLINE = re.compile(r"^\s*(?:By|BY)\s+([^\n|]{2,100}?)(?:\n|\||\s[-–—]\s|\Z)", re.MULTILINE)
# Behind a Chinese name at the beginning: 11月3日电, 北京11月3日电, APP获悉, 记者从, or a colon.
OPENING_ZH = re.compile(
    r"[》】」]?\s*(?:APP|App|app|客户端|客戶端|网|網|微博|官微|快讯|资讯)?\s*(?:"
    r"记者|記者|获悉|獲悉|消息|报道|報道|報導|[丨｜|:：]"
    r"|[\u4e00-\u9fff/]{0,8}?[电電讯訊](?=[\W_]|记者|記者|題|题|$)"
    rf"|[\u4e00-\u9fff/]{{0,8}}?\s*{DATE_ZH}\s*(?:[电電讯訊]|消息|报道|報道|報導|援引|[丨｜|,，:：]))"
)
ACCORDING_ZH = re.compile(r"(?:据|據|根据|根據)\s*[《「]?")
# 据央视新闻7月29日消息, 据法新社巴黎消息, 据路透调查.
BEHIND_ACCORDING_ZH = re.compile(
    rf"[》】」]?\s*(?:[,，、]|等|{DATE_ZH}|(?<!网)[\u4e00-\u9fff]{{0,6}}?(?:消息|报道|報道|報導|援引|引述|调查|统计))"
)
# Behind these words a text names who said it, listed or not.  数据来源 is of data.
NAMED_ZH = re.compile(
    r"(?:来源|來源|转自|轉自|转载|轉載|摘自|稿源|出处|出處)"
    r"(?:(?<![^\W_]..)|(?<=[文章件息闻聞容]..))\s*(?:自|[:：丨|])\s*" + NAME_ZH
)
NAMED = re.compile(
    r"(?:\A|(?<=[\n(\[|.!?”\"])|(?<=[.!?”\"] ))\s?"
    r"(?:source\s*:|(?:first|originally) published (?:by|on|in)\b\s*:?)\s*([^\n()\[\]|:;]{2,60})",
    re.IGNORECASE,
)
AUTHOR_ZH = re.compile(r"(?:(?:作者|撰文|记者|記者)(?<![^\W_]..)|文(?<![^\W_].))\s*[:：/／丨|]\s*" + NAME_ZH)
VIA = re.compile(
    r"(?:\A|(?<=[\s(\[|,.:;–—-]))(?:via|h/t|hat tip)\s*:?\s+(?:@(\w{1,50})|([^@\n()\[\]|]{2,48})\Z)",
    re.IGNORECASE,
)
BEHIND_HANDLE = re.compile(r"(?:[\s&,/…)\].\"”]|\band\b|@\w{1,50})*\Z")
JOINERS = re.compile(r"\s*[/、，,&]\s*|\s+and\s+")
# What follows a credit: links, tags, editors.
LAST_LINK = re.compile(r"(?:https?://|pic\.twitter\.com/)[!-~…]*\Z")
TAG_SIGNS = frozenset("#$＃")
LAST_TAG = re.compile(r"(?:\A|(?<=[\s)）]))[#$＃][^\s#$＃]{1,60}[#＃]?\Z")
LAST_BRACKET = re.compile(r"[\[(（【〔]([^\[\]()（）【】〔〕\n]{1,100})[\])）】〕]\Z")
EDITORS = re.compile(
    r"\s*(?:责任编辑|責任編輯|编辑|編輯|责编|校对|实习|审核|翻译"
    r"|reporting by|editing by|writing by|additional reporting|compiled by|edited by)",
    re.IGNORECASE,
)
LAST_EDITOR = re.compile(r"(?:责任编辑|責任編輯|编辑|編輯|责编|校对|审核)\s*[:：]\s*\w{1,10}\Z")
BLANKS = " \t\r\n\v\f\u3000\u200b\ufeff"
LAST_MARKS = BLANKS + ".。…!！'\"”“’*"
LAST_SEPARATOR = re.compile(
    r"[|｜丨_•·:：\n]\s?|[-–—~](?:(?<=\s.)|(?<=[—\u4e00-\u9fff].)|(?=[\sA-Z\u4e00-\u9fff]))[-–—~]?\s?"
)
# What is no part of an unknown Chinese name.
AROUND_NAME_ZH = re.compile(r"\A综合|(?:网站|微信公众号|公众号|客户端|综合|整理|编辑)\Z")
PARTICLES = word_set("of the and de del della des di du la le für och i")
# What can follow a publisher's name in a Chinese name of more.
NAME_ENDS = re.compile(r"[\W_]|[A-Za-z]|客户端|微信|微博|记者|綜合|综合|报道|整理|编译|官方|网站|频道|已入驻")
PARTS = re.compile(r"[,;|/()<>（），、；•·–—\n]|\s-\s|\b(?:of|for|at|with|via)\b")
EMAIL = re.compile(r"@([A-Za-z0-9.-]{3,253})")
# Of whom the picture or the data is, not the text.
NOT_OF_TEXT = re.compile(
    r"(?:photos?|images?|pictures?|charts?|graphics?|file|video|audio|credits?|data"
    r"|图|圖|图片|圖片|数据|數據|资料|資料|制图)"
    r"\W*(?:source|by|来源|來源|提供)?\W*\Z",
    re.IGNORECASE,
)
BEFORE_NAME = re.compile(
    r"\s*(?:(?:via|source|by|from)\b\s*:?|(?:来源|來源|转自|轉自|据|據|文|作者)\s*[:：/／]?)\s*@?",
    re.IGNORECASE,
)
# Behind "Source:" and its like, these are no names; see `name_key`.
NOT_NAMES = word_set(
    "app company companyfilings companyreports data email filing filings internet ipo mail media "
    "phone pressrelease sms socialmedia source sources spac statement web zoom 网络 互联网 网上 "
    "网友 本站 本网 本报 综合 公告 公司公告 网络整理 公开资料 公开信息 原创 作者 入库 未知"
)


def find_credits(text: str, publishers: Publishers) -> Iterator[str]:
    """The families, and other names in lower case, that the edges of a text credit; the best one first.

    Behind the text stands whose report it is, before it who passes it on, and a retweet is outermost.
    """
    head, tail = _edges(text)
    handle, head = _without_retweets(head)
    yield from _closing_credits(tail, publishers)
    yield from _opening_credits(head, publishers)
    if handle and (found := _handle(handle, publishers)):
        yield found


def author_in_text(text: str) -> str | None:
    """The author that a Chinese text names at one of its edges (作者：); None if it names none."""
    for edge in _edges(text):
        if match := AUTHOR_ZH.search(edge):
            return match[1]
    return None


def _edges(text: str) -> tuple[str, str]:
    """The beginning and the end of a text, without markup."""
    if "<" not in text[:EDGE] and "<" not in text[-EDGE:]:
        if len(text) <= EDGE:
            plain = html.unescape(text) if "&" in text else text
            return plain.strip(BLANKS), plain.strip(BLANKS)
        head, tail = text[:EDGE], text[-EDGE:]
    else:
        head, tail = TAG.sub("\n", text[:MARKED_EDGE]), TAG.sub("\n", text[-MARKED_EDGE:])
    head, tail = html.unescape(head).strip(BLANKS), html.unescape(tail).strip(BLANKS)
    return head[:EDGE], tail[-EDGE:]


def _without_retweets(head: str) -> tuple[str, str]:
    """The handle of the innermost retweet, empty without one, and the text in it."""
    handle = ""
    for _ in range(MOST_STEPS):
        match = RETWEET.match(head)
        if match is None:
            break
        handle, head = match[1] or match[2], head[match.end() :]
    return handle, head


def _closing_credits(tail: str, publishers: Publishers) -> Iterator[str]:
    for _ in range(MOST_STEPS):
        tail = _without_links(tail)
        bracket = LAST_BRACKET.search(tail) if tail.endswith((")", "）", "]", "】", "〕")) else None
        if bracket is None:
            break
        if found := _in_bracket(bracket[1], publishers):
            yield found
        elif not EDITORS.match(bracket[1]):
            break
        tail = tail[: bracket.start()]
    for line in tail.split("\n")[-MOST_LINES - 1 : -1][::-1]:  # a notice can follow
        bracket = LAST_BRACKET.search(line.rstrip(LAST_MARKS))
        if bracket and (found := _in_bracket(bracket[1], publishers)):
            yield found
    yield from _named(tail, publishers)
    if found := _via(tail, publishers):
        yield found
    label = tail[-LONGEST_LABEL:]
    for separator in [*LAST_SEPARATOR.finditer(label)][: -MOST_STEPS - 1 : -1]:
        is_of_text = separator[0][0] not in ":：" or not NOT_OF_TEXT.search(label[: separator.start()])
        if is_of_text and (found := _known(label[separator.end() :], publishers)):
            yield found


def _opening_credits(head: str, publishers: Publishers) -> Iterator[str]:
    yield from _named(head, publishers)
    head = head[ALARM.match(head).end() :]  # type: ignore[union-attr]
    if (bracket := FIRST_BRACKET.match(head)) and (found := _in_bracket(bracket[1], publishers)):
        yield found
    if headline := HEADLINE_ZH.match(head):
        head = head[headline.end() :]
    label = SEPARATOR.search(head, 0, LONGEST_LABEL)
    if label and (found := _in_bracket(head[: label.start()], publishers)):
        yield found
    yield from _datelines(head, publishers)
    if not head.isascii():
        for line in head.split("\n", MOST_LINES)[:MOST_LINES]:
            if found := _opening_zh(line.strip(BLANKS), publishers):
                yield found


def _without_links(tail: str) -> str:
    """The end of a text without the links, tags and marks behind its words."""
    for _ in range(MOST_STEPS):
        tail = tail.rstrip(LAST_MARKS)
        last = LAST_LINK.search(tail) if "/" in tail else None
        if last is None and not TAG_SIGNS.isdisjoint(tail):
            last = LAST_TAG.search(tail)
        if last is None and not tail.isascii():
            last = LAST_EDITOR.search(tail)
        if last is None:
            break
        tail = tail[: last.start()]
    return tail


def _in_bracket(inner: str, publishers: Publishers) -> str | None:
    """Whom a bracket or a label names: (Reuters), (via AP), （新华社记者 张三）, via @jdoe."""
    if len(inner) > LONGEST_LABEL:
        return None
    if found := _known(inner, publishers):
        return found
    if (before := BEFORE_NAME.match(inner)) and before.end():
        name = inner[before.end() :]
        if "@" in before[0]:
            return publishers.by_name(name) or _handle(name, publishers)
        is_named = before[0].strip(" :").casefold() == "via"
        return next(_explicit(name, publishers), None) if is_named else publishers.by_name(name)
    if found := _opening_zh(inner, publishers):
        return found
    # [東京 3日 ロイター], (서울=연합뉴스)
    return None if inner.isascii() else publishers.by_plain_name(re.split(r"[\s=]", inner)[-1])


def _known(names: str, publishers: Publishers) -> str | None:
    """The first of the publishers that a label names, if it names nothing else: Reuters, AP/AFP."""
    if found := publishers.by_plain_name(names):
        return found
    if len(parts := JOINERS.split(names)) == 1 or not all(map(publishers.by_plain_name, parts)):
        return None
    return publishers.by_plain_name(parts[0])


def _named(edge: str, publishers: Publishers) -> Iterator[str]:
    """Whom an edge names behind a word that says so; a name that the list lacks counts too."""
    if not edge.isascii() and (match := NAMED_ZH.search(edge)):
        yield from _explicit(match[1], publishers)
    if ("ource" in edge or "OURCE" in edge or "ublished" in edge) and (match := NAMED.search(edge)):
        name = match[1].strip(LAST_MARKS)
        if match.start() or match.end() < len(edge):
            yield from _explicit(name, publishers)
        elif found := publishers.by_name(name):  # "Source: Acme to buy Apex" is a headline
            yield found
    author = None if edge.isascii() else AUTHOR_ZH.search(edge)
    if author and (found := publisher_in_byline(author[1], publishers)):
        yield found


def _explicit(name: str, publishers: Publishers) -> Iterator[str]:
    """The publisher behind a word that says so, or another name."""
    if found := publishers.by_name(name) or _prefix_alone(name, publishers):
        yield found
    elif name.startswith("@"):
        yield _handle(name[1:], publishers) or plain_name(name)
    else:
        name = AROUND_NAME_ZH.sub("", name)
        if (key := name_key(name)) and key not in NOT_NAMES and _is_name(name):
            yield plain_name(name)


def _is_name(text: str) -> bool:
    """Whether a text looks like a name: a few words, none of them in lower case but the particles."""
    words = text.split()
    if not text.isascii() and len(text) > LONGEST_ZH:
        return False
    return len(words) <= MOST_WORDS and not any(word[0].islower() and word not in PARTICLES for word in words)


def _prefix_alone(name: str, publishers: Publishers) -> str | None:
    """The publisher with which a Chinese name begins: 证券时报·e公司, but not 中国网 of 中国网约车协会."""
    found = publishers.prefix(name)
    return found[0] if found and (found[1] == len(name) or NAME_ENDS.match(name, found[1])) else None


def _via(tail: str, publishers: Publishers) -> str | None:
    """The handle or the known publisher behind the last "via", if nothing else follows."""
    if "via" not in tail.casefold() and "h/t" not in tail.casefold():
        return None
    for match in [*VIA.finditer(tail)][:-3:-1]:
        if match[1] and BEHIND_HANDLE.match(tail, match.end()):
            return _handle(match[1], publishers)
        if match[2]:
            return publishers.by_plain_name(match[2])
    return None


def _handle(handle: str, publishers: Publishers) -> str | None:
    """The family of a handle, else the handle in lower case; None if it is none."""
    return publishers.by_handle(handle) or (handle.casefold() if HANDLE.fullmatch(handle) else None)


def _datelines(head: str, publishers: Publishers) -> Iterator[str]:
    """NEW YORK, Nov 3 (Reuters) - Shares; OSLO, Nov. 3, 2022 /PRNewswire/ -- Acme; By Jane Doe, AFP."""
    if "(" in head or "（" in head:
        for match in [*DATELINE.finditer(head)][:MOST_STEPS]:
            has_date = MONTH.search(match[1]) is not None
            find = publishers.by_name if has_date else publishers.by_plain_name
            if (has_date or match[3]) and (found := find(match[2])):
                yield found
    if "/" in head:
        for match in [*SLASHES.finditer(head)][:MOST_STEPS]:
            if found := publishers.by_name(match[1]):
                yield found
    byline = BYLINE.search(head) if "By " in head or "BY " in head else None
    if byline and (found := publisher_in_byline(byline[1], publishers)):
        yield found


def publisher_in_byline(byline: str, publishers: Publishers) -> str | None:
    """The known publisher in who wrote a text: Jane Doe, Reuters; Jane Doe for AFP; 新华社记者张三."""
    if found := publishers.by_name(byline) or _opening_zh(byline, publishers):
        return found
    if (email := EMAIL.search(byline)) and (found := publishers.by_host(email[1].casefold())):
        return found
    parts = PARTS.split(byline[:MOST_PARTS_OF])
    if not byline.isascii():
        parts = [each for part in parts for each in (*part.split(), part)]
    for part in parts[: -2 * MOST_STEPS : -1]:
        if found := publishers.by_plain_name(part):
            return found
    return None


def _opening_zh(text: str, publishers: Publishers) -> str | None:
    """The publisher with which a Chinese text begins: 财联社11月3日电, 据新华社报道, 《科创板日报》讯."""
    according = ACCORDING_ZH.match(text)
    start = according.end() if according else len(text) - len(text.lstrip("《「 \u3000"))
    found = publishers.prefix(text[start : start + EDGE])
    if found is None:
        return None
    family, length = found
    end = start + length
    if OPENING_ZH.match(text, end) or (according and BEHIND_ACCORDING_ZH.match(text, end)):
        return family
    return None
