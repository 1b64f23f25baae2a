"""Words beside a name that is a word too: those that speak for the entity, and those that speak against it.

Written by hand, in English and Chinese.  All are folded (`models.entities.forms.fold`).
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for line in text.splitlines() for phrase in line.split(",") if phrase.strip())


# Behind the name of a company: `Apple shares`, `Visa's Q2 profit`.
COMPANY_NOUNS = _words("""
    share shares stock stocks ceo cfo coo cto chairman chairwoman chief founder cofounder boss executive executives
    exec execs president director directors board earnings revenue revenues sales profit profits loss losses income
    results guidance forecast outlook margin margins dividend dividends buyback buybacks ipo bond bonds debt
    debentures notes bid offer merger takeover acquisition stake unit subsidiary division investors investor
    shareholders shareholder holders analyst analysts rating ratings upgrade upgrades downgrade downgrades valuation
    q1 q2 q3 q4 1q 2q 3q 4q fy h1 h2 quarter quarterly quarter's first second third fourth half annual net
    employees workers staff stores store customers supplier suppliers plant plants factory factories spokesman
    spokeswoman spokesperson officials lawsuit trial settlement patent patents calls puts options chart eps ebitda
    capex cash deliveries shipments orders production output management chips products product phones cars vehicles
    trucks suv suvs ev evs bulls bears short shorts longs setup bagholders price-target pt launch event
    headquarters hq deal deals partnership venture jv strategy layoffs recall recalls strike inc corp ltd plc
    cards card iphone iphones ipad macbook mac watch store stores app apps
""")
DETERMINERS = _words("""
    the a an this that these its their his her our your my each every any no some another new first
""")
# Verbs of which a company is the subject.
COMPANY_VERBS = _words("""
    says said announces announced announcing reports reported reporting posts posted beats beat misses missed tops
    topped raises raised cuts slashes slashed hikes hiked lifts lifted lowers lowered reaffirms affirms reiterates
    unveils unveiled launches launched introduces introduced releases released debuts acquires acquired acquiring buys
    bought sells sold agrees agreed plans planned files filed sues sued settles settled hires hired fires fired names
    named appoints appointed taps expects expected warns warned recalls recalled wins won loses lost signs signed
    inks inked faces seeks eyes weighs mulls explores considers considering nears invests invested partners teams
    expands expanded opens closes shuts halts halted suspends suspended resumes delays delayed scraps drops dropped
    jumps jumped falls fell rises rose gains gained soars soared plunges plunged surges surged tumbles tumbled slips
    slipped slides slid climbs climbed rallies rallied sinks sank crashes crashed pops popped dips dipped rebounds
    rebounded trades traded trading declares declared pays paid prices priced upsizes completes completed approves
    approved denies denied confirms confirmed defends urges rejects rejected sticks ships shipped delivers delivered
    builds manufactures outperforms underperforms overtakes spins tests poaches borrows refinances joins
    reportedly allegedly rolls pulls ends begins starts started stops stopped grows shrinks struggles suffers swings
    reveals revealed discloses disclosed submits receives received gets secures awarded spends pledges extends
""")
# Verbs that any subject has: weaker.
PLAIN_VERBS = _words(
    "is was has had will would could may might can to should are were isn't won't hasn't doesn't"
)
# Behind "to", in a headline: what companies plan.
INFINITIVES = _words("""
    close cut buy sell hire open launch acquire split raise pay invest add lay report spin list issue build expand
    merge join offer delist exit enter start stop end halt recall settle sue appoint name replace cooperate partner
    supply restructure refinance borrow repay redeem repurchase return host present announce release post unveil
    shut slash boost lower increase reduce double triple begin resume suspend withdraw divest seek file go take
    challenge appeal move relocate outsource automate test produce manufacture ship deliver develop explore
""")
# In front of the name of a company: `shares of Visa`, `iPhone maker Apple`.
COMPANY_LEADS = _words("""
    rival rivals giant maker makers retailer automaker carmaker chipmaker lender insurer brewer drugmaker oil miner
    supermajor airline operator parent owner acquire acquires acquiring acquired buys buying bought sells selling
    sold sues suing upgrades downgrades downgraded upgraded likes owns owning shorting short long against inc ceo cfo
    partner partners supplier suppliers competitor competitors customer customers conglomerate heavyweight
    billionaire startup company companies firm firms brand bank stock stocks including versus vs like ticker
    shares stake
""")
# Two words in front of it, the second `of`, `in`, `at`, `from`, `for`, `with` or `by`.
COMPANY_LEADS_OF = _words("""
    shares stake stakes stock stocks ceo cfo coo chairman president chief head boss director executive executives
    analyst analysts unit subsidiary division part holder owner shareholder shareholders investor investors founder
    position positions holding holdings interest bullish bearish sales revenue earnings upgrade downgrade coverage
    rating partnership deal deals merger takeover acquisition lawsuit competition competes compete competing calls
    puts options worth parent invest invested investing investment employees workers engineer engineers formerly
    supplier suppliers likes order orders results correction buyers bet bets
""")
LINKING_WORDS = _words("of in at from for with by on against over into to")
# Finance anywhere in the sentence.
FINANCE = _words("""
    share shares stock stocks earnings revenue revenues profit profits quarter quarterly analyst analysts investor
    investors nasdaq nyse ipo merger acquisition acquire acquires dividend dividends guidance valuation ceo cfo
    billion million bn mln trillion shareholders shareholder eps ebitda buyback upgrade upgrades upgraded downgrade
    downgrades downgraded bullish bearish trading trader traders market markets company companies firm sec
    antitrust stake takeover rally rallies selloff sell-off fund funds hedge etf portfolio equity equities
    s&p dow calls puts options retailer automaker chipmaker iphone premarket rs crore cr nifty sensex portfolio
    intraday nse bse bearish correction sector sectors returns bets ftse dax
""")
FINANCE_ZH = _phrases("""
    股价, 涨停, 跌停, 市值, 财报, 年报, 季报, 中报, 半年报, 净利, 营收, 业绩, 公告, 董事, 收购, 上市, 港股, 美股, A股, a股, 个股, 概念股,
    涨超, 跌超, 涨逾, 跌逾, 收涨, 收跌, 大涨, 大跌, 领涨, 领跌, 涨幅, 跌幅, 拉升, 跳水, 封板, 连板, 增持, 减持, 股东, 持股, 回购, 分红,
    融资, 募资, 定增, 研报, 评级, 目标价, 买入, 卖出, 主力, 资金流, 净流入, 净流出, 龙虎榜, 成交额, 换手, 停牌, 复牌, 股票, 股份, 证券,
    投资者, 订单, 中标, 供应商, 供应链, 产业链, 销量, 交付, 发布会, 新品, 首席执行官, ceo, 创始人, 总裁, 公司, 集团, 企业, 裁员, 并购,
    重组, 诉讼, 起诉, 反垄断, 门店, 利润, 亏损, 预增, 预亏, 龙头, 巨头, 厂商, 子公司, 控股, 旗下, 科技股, 中概股, 成分股, 盘前, 盘中, 收盘,
    开盘, 亿元, 万元, 亿美元, 每股, 北向资金, 净买入, 净卖出, 机构, 券商, 基金, 涨, 跌
""")
# Directly behind and in front of the Chinese name of a company.
AFTER_ZH = _phrases("""
    公司, 集团, 股份, 股价, 官方, 方面, 财报, 发布, 宣布, 表示, 回应, 公告, 首席, 总裁, 董事, 创始人, ceo, 涨停, 跌停, 涨超, 跌超, 涨逾, 跌逾,
    大涨, 大跌, 收涨, 收跌, 涨, 跌, 净利, 营收, 业绩, 一季度, 二季度, 三季度, 四季度, 上半年, 第一季度, 第二季度, 第三季度, 第四季度,
    盘中, 午后, 拉升, 封板, 连板, 股东, 拟, 称, 获, 今日, 控股, 供应商, 供应链, 产业链, 概念股, 手机, 汽车, 有限, 科技, 高管, 员工, 门店, 官网, 推出,
    计划, 将
""")
BEFORE_ZH = _phrases("""
    收购, 入股, 持有, 增持, 减持, 买入, 卖出, 投资, 起诉, 龙头, 巨头, 旗下, 供应商, 股东, 控股股东, 代工厂, 制造商, 厂商, 子公司, 关注, 推荐,
    参股, 重仓, 包括, 公司
""")
# The same for names that are among the commonest words: what nothing but a share does.
HARD_AFTER_ZH = _phrases("""
    涨停, 跌停, 涨超, 跌超, 涨逾, 跌逾, 收涨, 收跌, 封板, 连板, 午后, 盘中, 一度涨, 一度跌, 触及涨停, 触及跌停, 股价, 股份有限, 直线拉升, 等股, 等个股,
    净利润, 预增, 控股股东, 董事会, 董事长, 股东大会, ceo, 财报, 宣布, 公告称, 汽车, 集团
""")
HARD_ZH = frozenset(
    _phrases("""
    公用事业, 生物医药, 信息技术, 新材料, 房地产, 半导体, 医疗器械, 电子科技, 文化传媒, 网络科技, 环保科技, 农业科技, 智能制造, 高端装备, 物业管理,
    商业地产, 汽车零部件, 电子商务, 供应链, 生物科技, 节能环保, 有色金属, 石油化工, 交通运输, 食品饮料, 家用电器, 国防军工, 建筑装饰, 建筑材料,
    基础化工, 通信设备, 软件服务, 互联网, 云计算, 大数据, 人工智能, 电力设备, 环境保护, 旅游酒店, 港口航运, 航空运输, 高速公路, 燃气, 水务,
    生物制药, 医药科技, 新能源科技, 新能源汽车, 生物技术, 信息科技, 智能科技, 电力, 水电, 热电, 航空, 航天, 机械, 重工, 化工, 钢铁, 水泥, 玻璃,
    纺织, 服装, 食品, 饮料, 乳业, 旅游, 酒店, 传媒, 教育, 物流, 港口, 机场, 高速, 银行, 证券, 保险, 信托, 租赁, 期货, 地产, 置业, 建设,
    建筑, 建材, 材料, 科技, 电子, 通信, 软件, 网络, 信息, 环保, 医药, 医疗, 生物, 农业, 林业, 渔业, 矿业, 黄金珠宝,
    海量数据, 新大陆, 连云港, 西安旅游, 北京文化, 上海电影, 指南针, 新希望, 北大荒, 新乳业, 电子城, 步步高, 金太阳, 新产业, 国际医学, 天目湖, 数据港, 新天然气,
    新经典, 生物股份, 设计总院, 设研院, 金龙鱼, 第一创业, 起步, 好时, 中路,     万年青, 三峡, 中关村, 中国出版, 中国化学, 中国医药, 中国卫星, 中国电影, 中国稀土, 中国软件, 中国黄金, 人民网, 信息发展, 值得买,
    全新好, 农产品, 创业板, 国家队, 夜光明, 大众, 大自然, 太平洋, 太阳能, 好想你, 峨眉山, 张家界, 心动,
    新世界, 新华网, 新华联, 新天地, 新能源, 机器人, 民生, 珠江, 理想, 生活, 生物谷, 石油石化, 美的, 老百姓, 西藏, 金融街, 钱江, 长城, 长江, 长白山,
    飞天, 驱动力, 黄山, 黄河,
""")
)
# Behind the name: the word is no name of a company.
NOT_AFTER_ZH = re.compile(
    "行业|业务员|企业|协会|学会|大学|学院|领域|板块|概念板|赛道|产业(?!链)|市场监管|地区|沿岸|海域|岛国|时间|"
    "证券|信托|人寿|保险|财险|基金|资管|金融租赁|期货|银行"
)
# Behind a commodity, in its sentence: a sector of the stock market; and what shows that the commodity is meant.
SECTOR = re.compile("[^。；;！？\n]{0,24}?(?:板块|概念|行业指数|个股|股(?=涨|跌|走|领|普|集|大|纷|活|异))")
CONTRACT = re.compile("期货|主力|合约|价|吨|桶|库存|产量|进口|出口")
MEDIA = _words("nasdaq nikkei reuters bloomberg cnbc yahoo forbes barron's marketwatch benzinga") | {
    "yahoo finance",
    "fox news",
}
# In front of a person's name, which some companies have.
TITLES_AFTER_ZH = ("总统", "先生", "女士", "夫人", "教授", "同学")
TITLES_ZH = _phrases(
    "ceo, cfo, cto, 董事长, 总裁, 总经理, 创始人, 记者, 分析师, 首席执行官, 经理, 教授, 主席, 行长, 主任, 局长, 书记, 运动员, 冠军"
)
# Behind and in front of a commodity of one character: 铜价, but not 铜陵 or 无锡.
AFTER_METAL = re.compile(
    "价|期货|库存|产量|现货|主力|消费|需求|供应|进口|出口|市场|涨|跌|上涨|下跌|收|报|走|大涨|大跌|等|、|，|和|及|与|的|$"
)
BEFORE_METAL = re.compile("(?:^|[^\u3400-\u9fff]|沪|伦|期|和|与|及|是|对|为|于|的|现货|国际)$")
# Words of the sentence that speak against a name.
AGAINST_ZH = {
    "苹果": (
        "商品期货",
        "主力合约",
        "燃油",
        "豆粕",
        "棕榈",
        "玉米",
        "生猪",
        "花生",
        "红枣",
        "纸浆",
        "果农",
        "种植",
        "水果",
        "甲醇",
        "螺纹",
    ),
    "小米": ("杂粮", "谷子", "种植", "熬粥"),
}
# Directly behind a name of what is no company: it is a part of another word.
NOT_OTHER = re.compile(
    " (?:(?:and|&) gas )?(?:listed|based|backed|rush|medals?|coast|prize|standard|industry|industries|sector|space|company|"
    "companies|firms?|makers?|producers?|miners?|mining|stocks|shares|mills?|minister|ministry|exploration|blocks?|plants?|"
    "majors?|giants?|refiners?|drillers?|imports? bill|money|loans?|wallets?)(?![a-z])"
)
# In front of oil: another one.
OTHER_OILS = _words("""
    edible palm olive soya soybean soyabean vegetable mustard coconut sunflower cooking cottonseed groundnut rapeseed
    refined hair fish essential heating canola rice castor cbd snake baby engine motor lube selan sesame corn
""")
# Behind S&P: the rating agency.
RATING = re.compile(
    r"(?:'s)?(?: [a-z]+){0,2} (?:rat(?:es?|ed|ings?)|upgrad\w+|downgrad\w+|affirms?|outlook|junk|warns|says|global)(?![a-z])"
)
# Names that are words, of companies so well known that finance in the sentence is enough.
BRANDS = _words("""
    apple visa ford meta amazon oracle intel caterpillar carnival dell twitter alphabet adobe kellogg
    nike uber lyft whirlpool xerox boeing tesla google disney starbucks netflix chevron exxon kroger walmart costco macy's
    nordstrom hershey pfizer merck biogen gilead amgen citi citigroup goldman barclays santander nokia ericsson siemens
    bayer renault fiat tiffany fossil peloton pinterest spotify dropbox zoom roku shopify twilio workday
    splunk tyson campbell colgate clorox kimberly travelers allstate raytheon lockheed textron
    deere titan reliance escorts raymond polaris trent arvind bosch vodafone airtel unilever diageo tesco
    sainsbury's morrisons burberry ferrari hermes kering danone nestle novartis roche sanofi airbus
""")
# Names that are the commonest words: nothing but a ticker, a legal form or a list of companies speaks for them.
NEVER_ALONE = _words("""
    on now it all next best first paid bid unit senior post news team bullish bearish partners healthcare founder q1 q2 q3
    q4 popular seek emerging crypto bancorp city super power energy venture friend cool legend track fold good great new
    old in at be so up out up go do we us you me my he she they this that what who why how when can will may not no yes
    one two three ten real true open close live life love man men car home house work job pay cash money fund funds
    capital trust group holdings global world international national american united general standard premier core
    market markets stock stocks share shares bond bonds trade trading exchange equity value growth income finance
    financial bank banking credit loan loans insurance data tech technology software digital cloud ai network networks
    systems solutions services service media health medical pharma bio care food foods water air sun light gas power
    east west north south central pacific atlantic american asia europe china india japan canada australia africa
    business company enterprise enterprises industries industrial resources materials metals mining property
    properties land realty estate construction engineering design systems products brands retail consumer leisure
    travel sports games gaming play music video news books education school university future today tomorrow day
    week month year time vision insight impact edge focus momentum catalyst option options strategy plan target-date
    progress rational ideal optimal simply beyond ever always forever community people public private royal crown
    king queen star stars moon mars venus eagle lion tiger bear bull wolf horse dragon phoenix
    point points line lines level levels block-chain key lock gate bridge tower city park garden green blue red black
    white gold silver diamond crystal pearl ruby sky ocean sea river lake mountain hill valley island forest tree
    status optimism flow near gala sand core nft total quantum matrix vector delta-one alpha beta gamma omega sigma summit peak apex zenith pinnacle horizon
    troops track lead leads hello magic spirit joint major minor source sources select sense signal smart special speed
    state step strike strong supreme swift system switch table task thing things token trend triple turn type
    update upgrade urban user valid venue victory view wave way well wide win wind wing wise wish wonder word zero
""") - _words("phoenix delta-one target-date block-chain")
# Beside the name of a coin that is one of them.
COIN_NOUNS = _words("token tokens coin coins protocol network blockchain chain mainnet foundation price")
# Behind a name and a hyphen.
COMPOUNDS = _words("""
    backed led owned listed based linked controlled supplier rival maker sized like style pegged denominated branded
    branded funded run affiliated parent made compatible centric related focused powered tracking
""")
# In front of a name inside a headline, only these words are evidence, and behind it the next ones.
CORE_LEADS = _words("""
    lender insurer retailer automaker carmaker chipmaker brewer drugmaker giant maker miner parent rival operator
    brokerage startup firm platform developer conglomerate broker supermajor airline owner
""")
# Beside a name inside a headline, only these words are evidence.
CORE_NOUNS = _words(
    "share shares stock ceo cfo earnings revenue revenues profit profits sales q1 q2 q3 q4 quarter inc corp plc ltd"
)

# Phrases with a name inside that mean something else.  They are found like names, so that the longest wins.
NOT_NAMES = _phrases("""
    price target, price targets, target price, target prices, target date, target market, target audience, target range,
    target rate, target company, target zone, target level, target levels, target group, target customers, target for, target of,
    target at, target raised to, target cut to, target lowered to, stop target, on target, off target, sales target,
    inflation target, growth target, profit target, revenue target, deficit target, fiscal target, output target,
    production target, buy target, upside target, downside target, next target, first target, second target, short term target,
    takeover target, acquisition target, target hit, target achieved, target met, target set,
    apple pie, apple juice, apple cider, apple sauce, apple orchard, apple orchards, apple trees, apple tree, apple growers,
    apple grower, apple farmers, apple farmer, apple crop, apple harvest, apple season, apple producers, apple imports,
    apple exports, apple production, apple prices, apple farming, apple cultivation, apple belt,
    big apple, candy apple, apple of, bad apple, apple a day, adam's apple, apple valley, apple polish, apple cart, apples to apples,
    shell company, shell companies, shell corporation, shell corporations, shell firm, shell firms, shell entity,
    shell entities, shell script, shell shock, shell shocked, shell out, shell game, egg shell, in a nut shell, shell casing,
    shell casings, shell fish, turtle shell, reverse merger shell, public shell, blank check shell, bomb shell, sea shell,
    visa application, visa applications, visa waiver, visa ban, visa bans, visa fee, visa fees, visa rules, visa holder,
    visa holders, visa program, visa programme, visa restrictions, visa policy, visa free, visa norms, visa cap, visa curbs,
    visa issue, visa issues, visa scheme, visa on arrival, visa regime, visa reform, visa requirements, visa denial, visa status,
    visa row, visa process, visa processing, visa services, visa applicants, visa category, visa reforms, visa quota,
    work visa, student visa, tourist visa, entry visa, travel visa, transit visa, h1b visa, h 1b visa, h 1 b visa, l1 visa,
    l 1 visa, eb 5 visa, golden visa, us visa, uk visa, business visa, visa centre, visa center,
    gap between, gap in, gap up, gap ups, gap down, gap downs, gap fill, gap fills, gap filled, gap year, gap narrows, gap widens,
    gap closes, gap closed, gap higher, gap lower, gap open, gap opening, gap of, gap at, gap with, the gap is, pay gap, wage gap,
    gender gap, output gap, wealth gap, trade gap, deficit gap, price gap, supply gap, funding gap, valuation gap, skills gap,
    bridge the gap, close the gap, fill the gap, filling the gap, mind the gap, narrow the gap, gap support, gap resistance,
    demand supply gap, infrastructure gap, credit gap, gap area, gap zone, rate gap, breakaway gap, upside gap, downside gap,
    amazon rainforest, amazon rain forest, amazon river, amazon basin, amazon forest, amazon jungle, amazon deforestation,
    amazon fires, amazon fire season, amazon tribe, amazon tribes, amazon region, amazon soy, brazilian amazon, peruvian amazon,
    amazon warrior, in the amazon, across the amazon,
    delta variant, delta variants, delta strain, delta surge, delta wave, delta plus, delta covid, covid delta, niger delta,
    mekong delta, river delta, pearl river delta, yangtze river delta, yangtze delta, delta hedge, delta hedging, delta neutral,
    delta force, nile delta, delta spread, delta cases, delta outbreak, mississippi delta,
    alphabet soup, alphabet city, greek alphabet, meta analysis, meta analyses, meta data, meta description, meta tag, meta tags,
    meta study, meta game, ally of, allies of, key ally, close ally, trump ally, putin ally, nato ally, political ally,
    gold medal, gold medals, gold medalist, gold medallist, gold coast, gold standard, gold cup, gold loan, gold loans,
    gold rush, gold card, gold plated, gold finance, gold loan company, black gold, digital gold, solid gold, going for gold, gold star,
    old is gold, gold rated, gold ore, gold record, goldman, gold miner, gold miners, gold mining, gold mine, gold mines,
    gold explorer, gold producer, gold producers, gold company, gold companies, gold jewellery, gold jewelry, gold project, gold stocks, gold fields,
    oil company, oil companies, oil firm, oil firms, oil major, oil majors, oil giant, oil stocks, oil minister,
    oil ministry, oil marketing companies, oil marketing company, oil marketing, oil refiner, oil refiners, oil spill, oil field, oil fields,
    oil and gas company, oil & gas company, oil and gas companies, oil producer, oil driller, oil drillers, oil services, oil india, indian oil,
    palm oil, olive oil, vegetable oil, edible oil, edible oils, soybean oil, soya oil, soyoil, mustard oil, coconut oil, sunflower oil,
    groundnut oil, cottonseed oil, canola oil, fish oil, cbd oil, hair oil, essential oil, cooking oil, crude palm oil, heating oil, oil tanker, oil rig,
    oil pipeline, oil painting, snake oil, silver lining, silver screen, silver medal, silver lake, silver bullet, silver spring,
    copper mine, copper mines, copper miner, copper cable, copper wire, hindustan copper, corn flakes, corn syrup, sugar mill, sugar mills,
    sugar stocks, sugar company, sugar companies, sugar free, blood sugar, coffee shop, coffee shops, coffee chain, coffee maker, coffee day,
    cotton on, steel company, steel companies, natural gas company, natural gas companies, natural gas pipeline, natural gas vehicles, natural gas producer,
    dollar general, dollar tree, dollar store, dollar stores, dollar shave, million dollar, billion dollar, trillion dollar, multi million dollar,
    multibillion dollar, half dollar, top dollar, dollar bonds, dollar bond, dollar denominated, dollar cost, bottom dollar, dollar amount, dollar value, dollar terms,
    dollar volume, dollar deposits, dollar debt, sand dollar, dollar rent, silver dollar, dollar loan, dollar loans, dollar a day, 100 dollar, dollar store,
    euro zone, euro area, euro cup, euro denominated, euro 2016, euro 2020, euro 2024, euro vi, euro v, euro 6, euro iv, euro disney, euro bond, euro bonds, euro nations, euro ministers,
    euro million, pound cake, pound for pound, per pound, pound of, cents a pound, a pound, yuan denominated, yuan bonds, yuan loans, yuan bond, new yuan loans, yuan loan,
    fed up, be fed, been fed, were fed, was fed, being fed, fed by, fed to, fed into, fed ex, fed cup,
    nasdaq listed, nasdaq global select market, nasdaq global market, nasdaq capital market, nasdaq stock market, nasdaq exchange, nasdaq listing, nasdaq traded,
    nasdaq debut, nasdaq compliance, nasdaq notice, nasdaq delisting, nasdaq rules, nasdaq ticker, nasdaq symbol, nasdaq minimum bid, on nasdaq under, on the nasdaq under,
    nasdaq bell, nasdaq closing bell, nasdaq opening bell, nasdaq stockholm, nasdaq helsinki, nasdaq copenhagen, nasdaq nordic, nasdaq dubai, nasdaq first north, nyse listed,
    dow chemical, dow corning, dow theory, dow jones newswires, dow jones news, dow agrosciences, dow dupont, dowdupont,
    snap election, snap elections, snap poll, snap polls, snap up, snap decision, snap judgment, cold snap, oh snap, snap back, snap vote, snap lockdown,
    square feet, square foot, square meter, square metre, square meters, square metres, square mile, square miles, square kilometers, square kilometres,
    square km, square inch, square yard, square yards, times square, tiananmen square, madison square, union square, square off, squaring off, square one, red square, tahrir square, square root,
    block trade, block trades, block deal, block deals, block chain, block of, block size, block reward, block time, block party, road block, building block, block explorer, new block, trading block, block on,
    unity government, national unity, unity among, match fixing, match up, match made, cricket match, test match, match day, match for,
    intel officials, intel agencies, intel committee, intel community, intel report, intel briefing, us intel, military intel, ford foundation, gerald ford, harrison ford, betty ford, doug ford, rob ford, tom ford, christine blasey ford, ford nation, ford government,
    wells street, wells notice, wells notices, chase utley, chase after, chase for, to chase, high speed chase, car chase, paper chase, cut to the chase,
    sprint to, sprint race, sprint finish, a sprint, oracle of omaha, price oracle, oracle bones, chainlink oracle, blockchain oracle, oracle network, discover how, discover why, discover what, discover the, discover new,
    general mills fish, root cause, root canal, root for, square root, carnival cruise passenger, carnival of, carnival atmosphere, kellogg school, caterpillar fungus,
    next week, next month, next year, next quarter, next day, next time, next gen, next generation, next step, next steps, next stop, next level, next few, what's next, next to, next big, up next, next move, next phase,
    jd power, j.d. power, ping an good doctor, bank of england governor's, stellar results, stellar performance, stellar earnings, stellar quarter, stellar growth, stellar debut, cosmos holdings, avalanche risk, near term, near record, near high, near the, near a, near low, near all time,
    market maker, market makers, policy maker, deal maker, maker movement, compound annual, compound interest, compound growth, compounded annual, ripple effect, ripple effects, ripple through, tron legacy, dash cam, dash board, dash for, maker of, makers of,
    golden state warriors, southern california, southern states, progressive democrats, progressive web, progressive caucus, progressive policies, chevron deference, monster truck, monster hunter, monster rally, monster move, monster quarter, monster earnings,
    bullish engulfing block, order block, solana beach, shiba inu dog, polygon count, celsius degrees, degrees celsius, degree celsius, american dream, first solar system, best buy opportunity, best buy opportunities, best buys, best buy list, best buy rated,
    us steel tariffs, us steel imports, us steel industry, us steel producers, us steel stocks, us steel prices, dollar index futures spread, silver surfer, hash collision,
    中国银行业, 中国银行间, 中国银行保险, 中国银行卡, 中国银行系, 中国银行体系, 中国银行和保险, 中国银行监管, 中国银行法, 中国银行家, 中国石油化工, 中国石油和化, 中国石油大学, 中国石油天然气,
    中国石油需求, 中国石油消费, 中国石油进口, 中国建筑业, 中国建筑材料, 中国建筑科学, 中国建筑学会, 中国电影票房, 中国电影市场, 中国电影产业, 中国电影协会, 中国电影行业, 中国电影观众, 中国电影节, 中国电影人, 中国电影史, 中国电影集团,
    中国卫星导航, 中国卫星应用, 中国卫星网络, 中国卫星发射, 中国核电站, 中国核电产业, 中国重工业, 中国船舶工业, 中国船舶集团, 中国化学会, 中国化学品, 中国化学工业, 中国软件业, 中国软件产业, 中国软件行业, 中国软件企业, 中国软件市场, 中国软件园,
    中国黄金储备, 中国黄金协会, 中国黄金市场, 中国黄金消费, 中国黄金产量, 中国黄金需求, 中国黄金行业, 中国黄金珠宝, 中国黄金报, 中国黄金进口, 中国稀土行业, 中国稀土出口, 中国稀土产业, 中国稀土储量, 中国稀土学会, 中国稀土集团, 中国稀土资源,
    中国医药行业, 中国医药市场, 中国医药产业, 中国医药工业, 中国医药企业, 中国医药制造, 中国医药创新, 中国医药健康, 中国医药商业, 中国医药集团, 中国医药卫生, 中国医药物资, 中国医药研发, 中国出版业, 中国出版集团, 中国出版协会, 中国高科技, 中国电信业, 中国电信市场, 中国电信行业,
    中国电信运营, 中国移动互联, 中国移动支付, 中国移动游戏, 中国移动端, 中国移动电商, 中国移动应用, 中国移动设备, 中国移动通信协会, 中国移动芯片, 中国中药协会, 中国中药市场, 中国汽研院, 中国长城资产, 中国科技股, 中国人保资产, 中国国航线,
    北京东城, 北京东部, 北京东方, 北京东路, 北京东站, 南京东路, 北京东直门, 北京东三环, 北京东四环, 北京东五环, 北京东二环, 东京东, 京东方, 京东南, 上海尔雅,
    最好时机, 好时机, 好时候, 好时光, 好时代, 好时段, 好时节, 吉利数字, 不吉利, 吉利日, 吉利话, 刚起步, 起步阶段, 起步价, 起步晚, 起步早,
    纽约金属, 纽约金融, 生物股份有限, 日经济, 日经营, 日经过, 日经历, 日经销, 日经常, 逾期金, 到期金, 定期金, 分期金, 周期金, 首期金, 当期金, 近期金, 短期金, 长期金, 前期金, 后期金, 期金额, 期金融, 期金科, 上证报, 上证e互动,
    金融创, 点点滴滴, 点滴滴, 紫光阁, 欧元区, 玻璃纤维, 玻璃制造, 玻璃行业, 无锡, 锡林, 锡业, 锡山, 铝业, 铝厂, 铝箔, 铝材, 铝合金, 铝塑, 铅笔, 铅球, 锌业, 镍氢, 锂电, 锂业, 钢材市场, 煤炭行业, 煤炭板块, 煤炭股, 煤炭企业, 煤炭公司, 煤炭概念, 煤炭开采, 煤炭储, 水泥股, 水泥行业, 水泥板块,
    稀土永磁, 稀土板块, 稀土概念, 稀土股, 稀土集团, 盛和稀土, 北方稀土, 五矿稀土, 原油宝, 大豆基金, 美元基金, 煤炭etf, 纸浆厂, 猪肉股, 猪肉概念, 猪肉板块,
    太平洋地区, 太平洋沿岸, 太平洋岛国, 太平洋海域, 太平洋彼岸, 太平洋战争, 太平洋舰队, 太平洋时间, 太平洋上空, 太平洋西北, 太平洋保险, 太平洋财险, 太平洋寿险, 太平洋人寿, 太平洋产险, 太平洋健康, 太平洋航运, 太平洋建设, 太平洋汽车网,
    太平洋电脑网, 太平洋百货, 太平洋伙伴, 太平洋联盟, 太平洋铁路, 太平洋投资, 太平洋资产, 太平洋咖啡, 太平洋国家, 太平洋网络, 亚洲太平洋, 亚太平洋, 西太平洋, 东太平洋, 南太平洋, 北太平洋, 中太平洋, 环太平洋, 跨太平洋, 泛太平洋, 印度太平洋, 联合太平洋, 中国太平洋, 横跨太平洋, 横渡太平洋, 穿越太平洋,
    工业机器人, 服务机器人, 扫地机器人, 智能机器人, 人形机器人, 聊天机器人, 协作机器人, 移动机器人, 手术机器人, 清洁机器人, 焊接机器人, 物流机器人, 仿生机器人, 特种机器人, 教育机器人, 医疗机器人, 巡检机器人, 外骨骼机器人, 农业机器人, 双足机器人, 四足机器人, 国产机器人, 埃斯顿机器人, 新时达机器人, 机器人产业, 机器人行业,
    机器人板块, 机器人概念, 机器人etf, 机器人指数, 机器人领域, 机器人公司, 机器人企业, 机器人市场, 机器人技术, 机器人产品, 机器人龙头, 机器人业务, 机器人本体, 机器人大会, 机器人赛道, 机器人厂商, 机器人减速器, 机器人零部件, 机器人研发, 机器人项目, 机器人制造, 机器人系统, 机器人集成, 机器人应用, 机器人学院, 机器人科技,
    苹果树, 苹果汁, 苹果醋, 苹果期货, 苹果产量, 苹果收购价, 苹果种植, 苹果果农, 苹果产区, 苹果园, 苹果出口, 苹果批发, 苹果库存, 苹果主力合约, 苹果合约, 苹果酱, 苹果现货, 苹果价格, 红富士苹果, 烟台苹果, 栖霞苹果, 陕西苹果, 洛川苹果, 青苹果, 小米粥, 小米种植, 小米价格走势, 小米椒, 小米加步枪, 谷子小米, 苹果肌, 苹果派,
    万里长城, 长城脚下, 长城站, 大众消费, 大众化, 大众创业, 大众点评, 大众媒体, 大众旅游, 大众健康, 大众传媒, 大众品, 人民大众, 普罗大众, 社会大众, 平安夜, 平安无事, 平安健康, 平安中国, 平安建设, 平安出行, 平安城市, 平安归来, 岁岁平安, 一路平安, 出入平安,
    平安好医生, 平安证券, 平安信托, 平安基金, 平安普惠, 平安资管, 平安产险, 平安人寿, 平安寿险, 平安期货, 平安不动产, 平安租赁, 平安养老, 平安资产, 平安电工, 国计民生, 民生问题, 民生保障, 民生领域, 民生工程, 保民生, 民生福祉, 改善民生, 民生支出, 基本民生, 民生证券, 民生信托, 民生加银, 民生商品, 民生实事, 民生需求, 民生用气,
    发扬光大, 光大永明, 光大环境, 光大家, 招商引资, 招商会, 招商大会, 招商工作, 招商加盟, 招商项目, 招商局集团, 招商局港口, 招商局置地, 招商部门, 招商政策, 招商蛇口, 招商轮船, 招商基金, 招商期货, 优美的, 完美的, 精美的, 华美的, 甜美的, 最美的, 欧美的, 北美的, 南美的, 赞美的, 健美的, 中美的, 在美的, 赴美的, 对美的, 较美的, 俄美的, 日美的, 英美的, 拉美的, 亚美的, 美美的, 凄美的, 唯美的, 全美的, 和美的, 留美的, 从美的,
    其中信, 集中信, 中信息, 中信用, 中信心, 中信任, 中信号, 中信贷, 中信达, 中信托, 中信赖, 中信访, 中信仰, 中信奉, 其中行业, 中行情, 中行使, 中行政, 中行动, 中行为, 施工行业, 化工行业, 军工行业, 加工行业, 轻工行业, 职工行, 成交行情, 外交行动, 外交行, 中兴奋, 其中兴, 中兴起, 中兴建, 中国美国, 全国美, 中国美的, 中国美容, 中国美妆, 增长安全, 生长安全, 长安街, 长安区, 长安福特汽车金融, 长安镇, 国安全,
    万达到, 百万达, 千万达, 两万达, 小康股票, 东方红, 兴业态, 复兴业, 振兴业, 新兴业, 兴业证券, 兴业基金, 兴业研究, 苏宁静, 理想化, 理想状态, 理想主义, 理想信念, 不理想, 较理想, 理想国, 理想的, 最理想, 理想情况, 理想价格, 未来可期, 长江经济带, 长江流域, 长江三角洲, 长江中下游, 长江大桥, 长江证券, 长江商报, 长江证券研, 长江上游, 长江口, 长江商学院, 黄河流域, 三峡大坝, 三峡集团, 三峡库区,
    新华社, 新华网讯, 新华指数, 新华财经, 新华日报, 新华书店, 新华人寿, 新华医院, 人民网讯, 人民网记者, 据人民网, 据新华网, 人民网评, 创业板指, 证券时报网, 太阳能电池, 太阳能光伏, 太阳能组件, 太阳能板, 太阳能发电, 太阳能热, 太阳能板块, 太阳能行业, 太阳能产业, 太阳能公司, 太阳能企业, 太阳能项目, 太阳能电站, 太阳能硅片, 太阳能模块,
    老百姓的, 老百姓生活, 普通老百姓, 让老百姓, 广大老百姓, 农产品价格, 农产品批发, 农产品期货, 农产品质量, 农产品加工, 农产品进口, 农产品出口, 农产品市场, 农产品板块, 农产品贸易, 美国农产品, 特色农产品, 数字人民币, 虚拟数字人, 数字人直播,
    黄金周, 黄金时段, 黄金地段, 黄金十年, 黄金年代, 黄金坑, 黄金分割, 黄金时代, 黄金时间, 黄金时期, 黄金搭档, 黄金位置, 黄金股, 黄金板块, 黄金珠宝, 黄金首饰, 黄金概念, 黄金海岸, 黄金赛道, 黄金线, 黄金交叉, 黄金集团, 黄金饰品, 黄金矿业, 黄金公司, 黄金etf, 黄金企业, 黄金行业, 黄金联赛, 黄金档, 黄金酒, 黄金地, 黄金窗口, 赤峰黄金, 山东黄金, 湖南黄金, 中金黄金, 西部黄金, 四川黄金, 招金黄金,
    白银市, 白银有色, 原油宝, 石油公司, 石油石化, 石油股, 石油巨头, 石油大学, 石油行业, 石油板块, 石油部长, 石油部, 石油化工, 石油企业, 石油天然气集团, 铜陵, 铜矿, 铜箔, 铜业, 铜板带, 铜牌, 铜冠, 铜股
""")

# Who speaks or acts beside an entity that is no company.
MOVES = _words("""
    rise rises rising rose fall falls falling fell gain gains gained slip slips slipped drop drops dropped jump jumps
    jumped climb climbs climbed slide slides slid edge edges edged rally rallies rallied surge surges surged plunge
    plunges plunged tumble tumbles tumbled soar soars soared dip dips dipped sink sinks sank rebound rebounds
    rebounded steady steadies flat firm firms firmer weak weaker weakens weaken weakened strong stronger
    strengthens strengthen strengthened strength weakness recover recovers recovered recovery ease eases eased hold
    holds settles settle trades trade trading closes close closed ends end ended opens open higher lower up down
    volatile hits hit breaks surpasses tops crosses retreats pares nears outlook forecast range bound low high lows
    highs record bulls bears bullish bearish lacklustre lackluster mixed shines loses lost snaps extends extended
    """)
CRYPTO_WORDS = _words("""
    crypto cryptocurrency cryptocurrencies coin coins token tokens blockchain bitcoin btc ethereum eth defi nft nfts
    altcoin altcoins stablecoin stablecoins wallet wallets staking stake dao mining miner miners binance coinbase
    exchange exchanges mainnet testnet layer web3 dex airdrop whale whales hodl protocol network ledger on-chain
    onchain satoshi hash validator validators usdt sec lawsuit lender ftx decentralized
    """)
CRYPTO_ZH = _phrases(
    "加密, 代币, 区块链, 比特币, 以太坊, 公链, 链上, 钱包, 交易所, 挖矿, 稳定币, 币价, 空投, 主网, 币安, 数字货币, 虚拟货币, usdt, btc, eth"
)
COMMODITY_WORDS = MOVES | _words("""
    price prices futures ounce ounces barrel barrels tonne tonnes ton tons bullion spot demand supply supplies output
    production exports imports inventories stockpiles crude opec mcx comex nymex ncdex lme brent wti per kg kilo
    quintal bushel bushels silver gold copper platinum palladium commodity commodities safe haven reserves investors
    traders buying stockists contract delivery rs global glut shortage import duty smuggling hedge etf etfs
    """)
COMMODITY_ZH = _phrases("""
    价格, 期货, 现货, 盎司, 每桶, 桶, 吨, 主力合约, 合约, 涨, 跌, 升, 走强, 走弱, 库存, 产量, 需求, 供应, 储备, 避险, 突破, 金价, 油价, 克, 大宗商品, comex, lme,
    wti, 布伦特, 纽约, 收报, 反弹, 回落, 开采, 减产, 增产, 出口, 进口
""")
CURRENCY_WORDS = MOVES | _words("""
    against vs versus index exchange forex fx currency currencies rate rates peg pegged parity devaluation devalue
    depreciation depreciates appreciation appreciates interbank intraday basket central bank fed ecb boj greenback
    dominance demand liquidity dovish hawkish yields treasury traders dealers interventions intervention hedge safe
    haven usd eur jpy gbp offshore onshore fixing midpoint early paise
    """)
CURRENCY_ZH = _phrases("""
    汇率, 升值, 贬值, 兑, 走强, 走弱, 走高, 走低, 汇价, 中间价, 外汇, 离岸, 在岸, 汇市, 即期, 强势, 疲软, 指数, 货币, 央行, 储备, 国际化, 结算, 报, 涨, 跌, 点
""")
INDEX_WORDS = MOVES | _words("""
    index indices points point futures composite average benchmark stocks session wall street constituents
    correction per cent percent pct % inclusion rejig weightage rebalancing review indexes s&p dow sensex nifty ftse dax weekly expiry tech-heavy
    """)
INDEX_ZH = _phrases("指数, 点, 涨, 跌, 收, 报, 期货, 开盘, 成分, 三大, 股指, 大盘, 午盘")
POLICY_WORDS = _words("""
    rate rates hike hikes hiking cut cuts inflation powell yellen bernanke lagarde draghi policy minutes meeting
    meetings official officials chair chairman governor dovish hawkish taper tapering qe stimulus bank banks monetary
    economy markets treasury yields dollar fomc decision basis bps easing tightening pause pivot reserve says said
    investigation probe probes probing charges charged charge lawsuit sues sued filing filings files filed rule rules
    regulator regulators approves approval approve rejects bans fine fines fined penalty order orders norms circular
    allows notice commission enforcement settles settlement subpoena crypto etf ipo disclosure minister president
    member vice chief policymakers liquidity repo speech testimony balance sheet bond buying purchases nominee
    """)
POLICY_ZH = _phrases("""
    利率, 加息, 降息, 货币政策, 会议, 行长, 主席, 逆回购, 公开市场, 降准, 存款准备金, 调查, 处罚, 罚款, 批准, 核准, 监管, 规定, 发布, 表示, 宣布, 公告, 立案, 通报, 问询, 注册,
    审核, 操作, 投放, 净投放, 中标, 流动性, 官员, 纪要, 决议, 贷款, 外汇, 数字货币, 副行长, 约谈, 开展, 意见, 办法, 征求, 警示函, 发审委, 新规, 放水, 购债, 缩表, 鹰派, 鸽派
""")
EXCHANGE_NAMES = _words(
    "bse nse mcx ncdex nasdaq nyse lse tsx asx mcx-sx hkex sgx cboe nymex comex lme ice cme"
)
# Names that are verbs or adjectives: only these words speak for them.
STRICT = {
    "won": _words("korean korea dollar dollars yen yuan currency currencies bok against kospi asian"),
    "lead": _words(
        "zinc copper nickel aluminium aluminum tin lme tonne tonnes smelter mcx metal metals futures"
    ),
    "real": _words("brazil brazilian brazil's dollar currency currencies against peso"),
    "rand": _words("south african africa dollar currency currencies against lira"),
    "tin": _words("zinc copper nickel lead lme tonne tonnes smelter metal metals futures indonesia"),
    "pound": _words(
        "sterling dollar euro brexit boe currency against yen gbp cable bank england rises falls"
    ),
    "crown": _words("swedish norwegian danish czech currency against euro"),
}
# Before 央行 and 证监会: that of another country.
FOREIGN = _phrases("""
    美国, 英国, 日本, 韩国, 欧洲, 欧盟, 德国, 法国, 意大利, 瑞士, 瑞典, 挪威, 丹麦, 俄罗斯, 土耳其, 印度, 巴西, 南非, 澳大利亚, 澳洲, 新西兰, 加拿大,
    墨西哥, 阿根廷, 智利, 泰国, 越南, 马来西亚, 印尼, 印度尼西亚, 菲律宾, 新加坡, 香港, 台湾, 以色列, 沙特, 埃及, 匈牙利, 波兰, 捷克, 乌克兰, 伊朗, 巴基斯坦, 斯里兰卡,
    各国, 各大, 多国, 全球, 主要, 外国, 其他, 世界, 海外, 这些, 新兴市场, 发达国家, 该国, 东盟, 亚洲, 两国, 西方, 多家, 等国, 哈萨克斯坦, 肯尼亚, 尼日利亚
""")
# Before a name: the person, not the company.
TITLES = _words("""
    mr mr. mrs mrs. ms ms. dr dr. sir lord judge justice senator sen sen. rep rep. congressman governor gov. gen. gen
    captain prof prof. professor officer detective coach
""")
FIRST_NAMES = _words("""
    lindsay taylor paige hudson tiffany shelby mckenzie mckinley jennifer kate katie emma anne
    james john robert michael david richard joseph thomas charles christopher daniel matthew anthony steven steve paul
    andrew andy joshua kenneth ken kevin brian george timothy tim ronald ron jason edward ed jeffrey jeff ryan jacob
    gary nicholas nick eric jonathan stephen larry justin scott brandon benjamin ben samuel sam gregory greg alexander
    alex patrick jack dennis jerry tyler aaron jose henry adam douglas doug nathan peter pete zachary kyle walter
    ethan jeremy keith roger terry austin sean gerald gerry carl harold dylan arthur lawrence jordan jesse bryan
    billy bruce gabriel joe logan alan allan juan albert willie elijah wayne randy vincent mason roy ralph bobby
    russell bradley philip phil mike jim bob tom dave dan matt tony chris mary patricia jennifer linda elizabeth
    barbara susan jessica sarah karen lisa nancy betty sandra margaret ashley kimberly emily donna michelle carol
    amanda melissa deborah stephanie rebecca sharon laura cynthia dorothy amy kathleen angela shirley brenda emma
    anna pamela nicole samantha katherine christine helen debra rachel carolyn janet maria catherine heather diane
    olivia julie joyce victoria ruth virginia lauren kelly christina joan evelyn judith andrea hannah megan cheryl
    jacqueline martha madison teresa gloria sara janice ann kathryn abigail sophia frances jean alice judy isabella
    julia denise danielle harrison morgan ford wells oliver simon neil nigel ian graham stuart colin hugh
    elon jeff warren bernard carl leon ray ted fred alfred louis luis carlos pierre jean marc klaus hans
    rahul amit anil mukesh rajiv sanjay vijay ravi suresh ramesh rakesh deepak ashok arun ajay anand
    jamie tim timothy janet jerome lloyd gordon
""") - _words("morgan ford wells jack jordan austin madison virginia jean carl oliver ray ted joan kelly")
# Capitals that are no tickers, though some are.
ACRONYMS = _words("""
    ceo cfo coo cto cio cmo gdp cpi ppi pmi ism nfp ipo ipos spac spacs etf etfs eps ebit ebitda fcf roi roe yoy qoq ytd usa us
    uk eu uae ai ml it iot ev evs esg fda sec ftc doj fed ecb boj boe imf who wto nato opec un nasa api all are for now on
    one new big buy sell hold pt tp sl dd atm otm itm ath atl rsi macd sma ema wsb yolo fomo fud lol wtf imo imho tbh
    btw am pm est pst gmt utc et jan feb mar apr may jun jul aug sep oct nov dec mon tue wed thu fri sat sun q1 q2 q3
    q4 fy h1 h2 usd eur gbp jpy cny inr aud cad chf hkd rs nyse amex otc cnbc bbc cnn fox abc nbc cbs espn rt via
    llc inc ltd plc corp co bn mn tn k m b a i an as at be by do go he if in is me my no of or so to up we the and but
    can has had was you her him his how its let man men not out own put run say see she too top two use way why win
    yes yet car low high low day days week best next well real true love life live cash cost fund gold oil gas free
    open plan play rate safe save post key fast good hope key kids link loan loop main mind move pay peak pro ride
    seed sky snap tech tell turn work beat bear bull call calls puts puts even ever ex net
    hr pr tv pc cd dvd usb led lcd gpu cpu ram ssd nft nfts dao defi dex cex dlt kyc aml vip faq diy asap rip
    covid hiv dna rna er icu nhs cdc nih epa irs gop dnc rnc cia fbi nsa dhs tsa ira fdic fomc qe qt ta fa re reit
    reits bps apr apy cagr gaap nav aum mbs cds cdo clo abs lp gp vc pe ma rd cob fyi aka eta tba tbd nr
    wall rsvp dc ny la nj ca tx fl san st ave usmca nafta brics asean apac emea latam ndtv rbi sebi mcx nse bse fii fiis dii agm egm  pat qip nav psu mou msme ceo's gst
    q1fy ttm lt st mt sip ncd fpo ofs gmp usd/inr
""")
# In front of a bare ticker.
TICKER_LEADS = _words("""
    buy buying bought sell selling sold long short shorting shorted hold holding held own owning adding added add
    like loading bullish bearish calls puts upgrades downgrades upgraded downgraded stock ticker
""")
# Words that begin a sentence in front of a name.
FIRST_WORDS = _words("""
    today yesterday tomorrow monday tuesday wednesday thursday friday saturday sunday january february march april may
    june july august september october november december breaking update exclusive why how what when where who as after
    before while if but and or so then also meanwhile however although because since until during about according by
    at in on of to for from with without under over between both either yes no not we he she they i you it here there
    read see watch buy sell hold big new former earlier later last next some many most more less other only even
""")
# Behind the name of a company that the text names elsewhere.
SUBJECT_OF = COMPANY_NOUNS | COMPANY_VERBS | PLAIN_VERBS
