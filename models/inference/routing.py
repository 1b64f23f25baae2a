"""Which texts need a second opinion: those on which a small model is unsure or, by their kind, often wrong.

It depends on the text and the model alone: not on the load, nor on the texts it arrives with.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

from models.network.info import Routing
from stream.domain.documents import Prediction

# Characters in which cues are looked for: the headline or the lead.  A whole article has some of every kind.
CUE_CHARACTERS = 300
# Sums of products differ in their last digits with the texts that share a pass, in bfloat16 by this much in
# a probability.  A text this close to the threshold is decided in a pass of its own.
CLOSE = 0.02

# The kinds of text in which the words of the mood do not say the mood, and words that give them away: single
# words and pairs of neighbours in English, up to LONGEST_HAN characters in Chinese.
CUES: Mapping[str, str] = {
    # A figure against an expectation or a year ago.
    "comparison": """
        vs versus than consensus estimate estimates expected expectations forecast forecasts feared
        year_ago year_earlier yoy less fewer narrow narrows narrowed narrower unemployment jobless
        short_interest inflation costs debt 预期 同比 环比 同期 高于 低于 好于 不及 收窄 失业 通胀 亏损
        负债
    """,
    # Who holds what, and what insiders do.
    "holder": """
        short shorts shorting shorted seller sellers puts bearish bet bets hedge_fund hedge_funds stake
        stakes insider insiders pledge pledges pledged lockup lock-up lockups buyback buybacks activist
        减持 增持 质押 解禁 做空 空头 融券 持股 举牌 回购 大股东 董监高 北向
    """,
    # What is denied, asked, supposed or did not happen.
    "unreal": """
        deny denies denied denial false fake hoax rumor rumors rumour rumours untrue refute refutes
        refuted baseless not no no_longer isn't won't doesn't didn't never without if would could may
        might unless avoid avoids avoided avert averts averted ? ？ 否认 不实 谣言 辟谣 传闻 澄清 虚假
        如果 若 假如 倘若 未必 并未 不会 没有 避免 取消 本可
    """,
    # Two halves that disagree.
    "contrast": """
        but despite although though even_as while yet however amid offset offsets one-off one-offs
        priced_in still 但 然而 尽管 虽然 不过 却 反而 一次性 非经常 利好出尽 兑现
    """,
    # A move that ends or turns, and who buys whom.
    "turn": """
        pare pares pared trim trims trimmed gives_back give_back erase erases snap snaps halt halts halted
        extend extends rebound rebounds recover recovers reverse reverses slow slows ease eases cut_losses
        off_highs off_lows ends scraps drops_bid drops_suit ends_talks lifts removes acquire acquires
        acquired acquisition merger takeover bid talks 收复 回吐 止跌 终结 结束 反弹 翻红 翻绿 扭亏 转盈
        转亏 终止 收购 重组 转跌 转涨
    """,
    # What authorities and exchanges decide.
    "policy": """
        rate rates reserve_requirement hike hikes easing tightening tax taxes tariff tariffs ban bans
        banned sanctions delist delisted delisting rules regulator regulators subsidy subsidies stimulus
        降准 加息 降息 准备金 征税 关税 禁令 禁止 限制 新规 退市 摘帽 戴帽 涨停 跌停 停牌 复牌 补贴
    """,
    # Lists, calendars and housekeeping.
    "list": """
        watch watchlist calendar schedule agenda preview to_report to_hold to_present to_host webcast
        conference roundup movers inc corp holdings fund etf 一览 日历 提示 召开 股东大会 名单 汇总 前瞻
    """,
}
KIND_OF = {word.replace("_", " "): kind for kind, words in CUES.items() for word in words.split()}
LONGEST_HAN = 4
WORD = re.compile(r"[a-z][a-z'-]*|\?|？")
HAN = re.compile(r"[\u3400-\u9fff]+")
# A post rather than a report: cashtags, hashtags, emoji, several exclamation marks and the names of emoji.
POST = re.compile(r"[$#]\w|[\U0001f300-\U0001faff\u2600-\u27bf]|!!|！！|[\[［][\u4e00-\u9fff]{1,4}[\]］]")
ST_SHARE = re.compile(r"(?<![A-Za-z])\*?ST(?=[\u4e00-\u9fff])")

# Kinds that are rare in most streams, so that a stream says little of them, and harmful where they are wrong.
MISLEADING = ("comparison", "holder", "unreal", "contrast", "turn", "policy")
# The least that a cue of them counts, where an unsure sentiment counts 1.  With more, plain texts that have
# such a word would take the place of unsure ones.
LEAST_OF_A_CUE = 0.3
# For models whose `model.json` has no routing.
DEFAULT = Routing(
    weights={"sentiment": 1.0, "topic": 0.6} | dict.fromkeys(MISLEADING, LEAST_OF_A_CUE), threshold=1.0
)


def features(text: str, prediction: Prediction) -> dict[str, float]:
    """For each task how unsure a prediction is, from 0 to 1, and 1 for each kind that the text has a cue of.

    Unsure is 1 minus the difference between the two largest probabilities.
    """
    unsure = {task: 1 - _margin(values) for task, values in prediction.probabilities.items()}
    return unsure | dict.fromkeys(kinds(text[:CUE_CHARACTERS]), 1.0)


def kinds(text: str) -> set[str]:
    """The kinds that a text has a cue of."""
    words = WORD.findall(text.lower())
    units = {*words, *map(" ".join, pairwise(words))}
    for run in HAN.findall(text):
        for length in range(1, LONGEST_HAN + 1):
            units.update(run[at : at + length] for at in range(len(run) - length + 1))
    found = {KIND_OF[unit] for unit in units & KIND_OF.keys()}
    if POST.search(text):
        found.add("post")
    if ST_SHARE.search(text):
        found.add("policy")
    return found


def doubt(routing: Routing, text: str, prediction: Prediction) -> float:
    """How much a text needs a second opinion, by what a small model predicts for it."""
    return sum(value * routing.weights.get(name, 0.0) for name, value in features(text, prediction).items())


def _margin(values: Mapping[str, float]) -> float:
    first, second, *_ = sorted([*values.values(), 0.0, 0.0], reverse=True)
    return first - second
