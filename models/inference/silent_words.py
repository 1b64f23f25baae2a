"""Words that are no evidence: they stand in texts of every topic and every mood."""

# In every task: articles, pronouns, auxiliaries, prepositions without a direction, conjunctions, units,
# months and days.
_FUNCTION = """
a an the this that these those it its it's he she they we i you his her their our your my him them us me
who whom whose which what there here one ones such same other another each every all any some both
either is are was were be been being am has have had having do does did doing done will would shall
should can could may might must 's ll ve re of in on at to by for with from as into onto about through
during until via per within upon across among between toward towards and or nor if so that because while
when where why how whether since than then though although after before says say said saying according
also just only too very still yet even already again now vs versus et al mr mrs ms dr inc corp ltd plc
llc co ag sa nv
"""
_MEASURES = """
percent pct per cent percentage point points basis bps bp million mln billion bln trillion trn thousand
hundred dozen dollar dollars euro euros pound pounds yen yuan usd eur gbp cny jpy cents cent share's one
two three four five six seven eight nine ten first second third fourth half quarter year years month
months week weeks day days hour hours minute minutes today yesterday tomorrow year's january february
march april may june july august september october november december jan feb mar apr jun jul aug sep
sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur fri
sat sun am pm gmt utc est et
"""
# In topics as well: they turn or compare, which says something of a mood and nothing of a topic.
_TURNING = """
not isn't aren't wasn't weren't don't doesn't didn't won't can't cannot hasn't haven't no never none
nothing without but despite however unless except instead rather against amid more less most least much
many few little over under above below up down off out back away again around near ahead behind further
further
"""
_FUNCTION_ZH = """
的 了 在 是 和 与 及 或 等 将 为 对 从 由 于 以 被 把 向 至 到 其 该 此 这 那 我 你 他 她 它 们 我们
你们 他们 自己 也 都 又 就 还 而 并 且 之 所 者 则 若 如 如果 因为 因 由于 所以 因此 以及 并且 同时 其中
方面 有 无 着 过 吗 呢 吧 啊 哦 呀 地 得 中 上 内 里 后 前 时 当 已 已经 正在 曾 将会 可以 可能 能 会 要
应 该公司 本 各 每 某 什么 怎么 这个 那个 一个 一些 这些 那些 表示 称 据 据悉 显示 指出 认为 关于 根据
对于 通过 年 月 日 号 时 点 分 秒 季 周 今年 去年 今日 昨日 明日 今天 昨天 明天 当日 本周 上周 本月 上月
上午 下午 日前 近日 截至 期间 年内 个月 元 美元 港元 欧元 万 亿 万元 亿元 万美元 亿美元 万股 亿股 个 只
家 次 名 位 项 倍 成 百分点 个百分点 基点 个基点 约 近 超 逾 多 余 左右 一 二 三 四 五 六 七 八 九 十 百
千 两 第 一季度 二季度 三季度 四季度
"""
_TURNING_ZH = "不 没 没有 未 但 但是 却 然而 不过 尽管 虽然 更 最 较 比 很 太 非常 仅 只 再 进一步"


def _spellings(*lists: str) -> frozenset[str]:
    """The words of lists, with both apostrophes."""
    words = {word for listed in lists for word in listed.split()}
    return frozenset(words | {word.replace("'", "’") for word in words})


# Words in lower case that are no evidence for any label, and those that are none for a topic.
SILENT = _spellings(_FUNCTION, _MEASURES, _FUNCTION_ZH)
SILENT_TOPIC = SILENT | _spellings(_TURNING, _TURNING_ZH)
# Words of analysts that are written with a capital, and are no names.
_RATINGS = """
buy sell hold overweight underweight outperform underperform neutral reduce accumulate strong junk bullish
bearish bull bear upgrade upgraded downgrade downgraded positive negative
"""
RATINGS = frozenset(_RATINGS.split())
