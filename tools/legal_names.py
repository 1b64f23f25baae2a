"""What a company is called, from its legal name: `Tencent` for `TENCENT HOLDINGS LTD/ADR`."""

import re
import unicodedata
from collections.abc import Iterable

# Tags that the US regulator's list appends: states, countries, and what kind of share it is.
TAG = re.compile(
    r"\s*[/\\]\s*(?:[A-Z]{2}|[a-z]{2}|ADR|ADS|ATS|CAN|DEL|ENG|NEW|Bermuda|Canada|Cayman(?: Islands)?|"
    r"Delaware|Israel|Marshall Islands|Switzerland)\s*[/\\]?\s*$"
)
SHARE_CLASS = re.compile(
    r"\s+(?:(?:un)?sponsored\s+)?(?:(?:american|global) deposit[oa]ry (?:shares?|receipts?)|ADR|ADS|GDR|BDR)"
    r"(?:\s+(?:Pfd|RegS|144A|\d.*))*\s*$"
    r"|\s+(?:class|cl\.?|series)\s+[A-Z0-9](?:\s+(?:shares?|ordinary shares|sub-?voting))?\s*$"
    r"|\s+(?:Pref|Pfd|Partizipsch\.?|RegS|Registered Shares?|Units?|Ordinary Shares?|Common Stock)\s*$",
    re.IGNORECASE,
)
# Legal forms at the end of a name, without dots and spaces.
_FORMS = """
inc incorporated corp corporation co company ltd limited plc publiclimitedcompany lp llc lllp llp pbc na sa
sab sabdecv sadecv decv cv sau sca srl scpa spa nv bv sanv se ag kgaa kommanditgesellschaftaufaktien gmbh
aktiengesellschaft societeanonyme societeeuropeenne ab aktiebolag (publ) asa as a/s a/b s/a oyj abp hf kk
kabushikikaisha tbk tbkpt pt bhd berhad pte pty azioni anonimsirketi spolkaakcyjna jointstockcompany pjsc
ojsc jsc saog
"""
LEGAL_FORMS = frozenset(_FORMS.split())
MOST_WORDS_OF_A_FORM = 4
PREFIX = re.compile(r"^(?:the|pt\.?|koninklijke)\s+", re.IGNORECASE)
GROUP = re.compile(
    r"[,\s]+(?:group|holdings?|hldgs?|grp|groep|gruppe|holding company|group holdings?)\s*$", re.IGNORECASE
)
BRACKETS = re.compile(r"\s*[(（][^()（）]*[)）]\s*")
CHINESE_LEGAL = re.compile(
    r"(?:股份有限责任公司|股份有限公司|有限责任公司|股份公司|有限公司|[(（]公司[)）])$"
)
# What the exchanges put around the short name of an A-share: risk warnings, new listings, ex-dividend days
# and share classes.
CHINESE_MARK = re.compile(
    r"^(?:\*?ST|S\*?ST|XD|XR|DR|[SNC](?=[\u4e00-\u9fff]))|(?:-(?:U|W|UW|WD|D|V|UWV)|[AB])$"
)


RISK_MARK = re.compile(r"\*?S?\*?ST|[SNC](?=[\u4e00-\u9fff])")
SHORTEST_CHINESE, SHORTEST_DERIVED = 2, 4


def strip_tags(name: str) -> str:
    """A legal name without the tags of lists: states, countries, share classes."""
    text = unicodedata.normalize("NFKC", name).strip()
    while True:
        shorter = SHARE_CLASS.sub("", TAG.sub("", text)).strip(" /\\,")
        if shorter == text or not shorter:
            return text
        text = shorter


def strip_legal(name: str) -> str:
    """A name without its legal form: `Eli Lilly` for `Eli Lilly & Co`."""
    text = PREFIX.sub("", name)
    while True:
        shorter = _without_last_form(text)
        if shorter == text or len(shorter) < 2:
            return text
        text = shorter


def _without_last_form(text: str) -> str:
    words = list(re.finditer(r"[^\s,]+", text))
    for count in range(min(MOST_WORDS_OF_A_FORM, len(words) - 1), 0, -1):
        form = _plain("".join(word.group() for word in words[-count:]).replace(".", ""))
        if form.lstrip("&") in LEGAL_FORMS:
            return text[: words[-count].start()].strip(" ,&")
    return text


def _plain(text: str) -> str:
    """A text without accents and case."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def strip_group(name: str) -> str:
    """A name without `Group` and `Holdings` at its end."""
    while True:
        shorter = GROUP.sub("", name).strip(" ,&")
        if shorter == name or len(shorter) < 2:
            return name
        name = shorter


def compare_key(name: str) -> str:
    """Equal for two spellings of one legal name."""
    unfolded = BRACKETS.sub(lambda match: f" {match.group().strip(' ()（）')} ", strip_tags(name))
    text = _plain(strip_group(strip_legal(unfolded))).replace("&", " and ")
    text = re.sub(r"(?<=\w)[.'’](?=\w|$)", "", text)
    words = re.split(r"[^0-9a-z\u4e00-\u9fff]+", text)
    return " ".join(word for word in words if word not in ("", "and", "the"))


def english_names(legal: str) -> list[str]:
    """What texts call a company with this legal name, the shortest last.  The first is the best to show."""
    tagged = strip_tags(legal)
    bare = strip_legal(tagged)
    names = [bare, tagged]
    plain = " ".join(BRACKETS.sub(" ", bare).split())
    if plain and plain != bare:
        names.append(strip_legal(plain))
    names += [strip_group(name) for name in list(names)[:1] + list(names)[2:]]
    return [name for name in dict.fromkeys(names) if len(name) > 1]


def chinese_short_names(short: str) -> list[str]:
    """The short name of an A-share without its marks, and as the exchanges write it: `万科`, `万科A`.

    Two characters are left of some names by a mark, which are any word (`*ST生物`): they are no name.
    """
    text = unicodedata.normalize("NFKC", short).replace(" ", "")
    bare = text
    while True:
        shorter = CHINESE_MARK.sub("", bare)
        if shorter == bare or len(shorter) < SHORTEST_CHINESE:
            break
        bare = shorter
    names = [bare, text]
    if text.startswith("*ST"):
        names.append(text[1:])
    elif text.startswith("ST"):
        names.append("*" + text)
    has_mark = bool(RISK_MARK.match(text))
    return list(
        dict.fromkeys(
            name for name in names if not (has_mark and name == bare and len(bare) == SHORTEST_CHINESE)
        )
    )


def chinese_full_names(full: str) -> list[str]:
    """The legal name in Chinese, and without its legal form."""
    text = unicodedata.normalize("NFKC", full).replace(" ", "")
    return list(dict.fromkeys([text, CHINESE_LEGAL.sub("", text)]))


def chinese_derived_names(short: str, full: str, places: Iterable[str]) -> list[str]:
    """What texts may also call an A-share: its legal name without the place, such as `欣旺达电子`.

    A mark takes two characters of a short name; `萃华珠宝` is what ST萃华 was called before.
    """
    core = chinese_full_names(full)[-1]
    bare = re.sub("[(（]集团[)）]|集团", "", core)
    place = max((place for place in places if bare.startswith(place)), key=len, default="")
    local = re.sub("^(?:省|市|自治区|壮族自治区|回族自治区|维吾尔自治区)", "", bare[len(place) :])
    names = [name for name in (local, bare) if len(name) >= SHORTEST_DERIVED]
    text = unicodedata.normalize("NFKC", short).replace(" ", "")
    own = CHINESE_MARK.sub("", text)
    if own != text and len(own) == SHORTEST_CHINESE:
        names += [own + "股份", own + "集团", own + bare[-2:]]
        at = bare.find(own)
        names += [bare[at : at + 4]] if at >= 0 and len(bare) >= at + 4 else []
    return list(dict.fromkeys(names))
