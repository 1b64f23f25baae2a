"""Which names a text is linked to, over a small gazetteer written here."""

import pytest

from models.entities.linker import Linker
from stream.domain.documents import TextInput
from tests.unit.models.entity_samples import SAMPLES


@pytest.fixture(scope="module")
def linker() -> Linker:
    return Linker(SAMPLES)


def links(linker: Linker, text: str, **fields: object) -> list[tuple[str, list[str]]]:
    """The ids of a text, each with the parts of the text that name it."""
    found = linker.link(TextInput(text, **fields))  # type: ignore[arg-type]
    return [(link.entity, [text[start:end] for start, end in link.spans]) for link in found]


AAPL, TGT, V, GAP, SHEL, F = "XNAS:AAPL", "XNYS:TGT", "XNYS:V", "XNYS:GAP", "XNYS:SHEL", "XNYS:F"
PING_AN, PING_AN_BANK = "XSHG:601318", "XSHE:000001"
# A sentence about the case, the text, and its links.
CASES: list[tuple[str, str, dict[str, list[str]]]] = [
    # Spelling.
    ("A name is found in any case", "microsoft, MICROSOFT and Microsoft", {"XNAS:MSFT": ["microsoft", "MICROSOFT", "Microsoft"]}),
    ("A legal form belongs to the name", "Microsoft Corp. and Tesla, Inc. fell", {"XNAS:MSFT": ["Microsoft Corp."], "XNAS:TSLA": ["Tesla, Inc."]}),
    ("A Chinese legal form belongs to the name", "平安银行股份有限公司公告", {PING_AN_BANK: ["平安银行股份有限公司"]}),
    ("A possessive ends the name", "Tesla's plant, McDonald’s' menu", {"XNAS:TSLA": ["Tesla"], "XNYS:MCD": ["McDonald’s"]}),
    ("A name is written without its apostrophe", "Mcdonalds opens early", {"XNYS:MCD": ["Mcdonalds"]}),
    ("A hyphen is a blank or nothing", "Coca Cola, Coca-Cola, Coca–Cola and CocaCola", {"XNYS:KO": ["Coca Cola", "Coca-Cola", "Coca–Cola", "CocaCola"]}),
    ("An ampersand is a word", "Procter and Gamble; Procter &amp; Gamble", {"XNYS:PG": ["Procter and Gamble", "Procter &amp; Gamble"]}),
    ("Initials have dots, blanks or nothing", "J.P. Morgan, JP Morgan, J. P. Morgan", {"XNYS:JPM": ["J.P. Morgan", "JP Morgan", "J. P. Morgan"]}),
    ("Full-width letters are letters", "Ｔｅｓｌａ and 万科Ａ", {"XNAS:TSLA": ["Ｔｅｓｌａ"], "XSHE:000002": ["万科Ａ"]}),
    ("Traditional characters are the simplified ones", "騰訊控股與貴州茅臺", {"XHKG:0700": ["騰訊控股"], "XSHG:600519": ["貴州茅臺"]}),
    ("Accents do not count, combined or not", "Societe Generale Test, Socie\u0301te\u0301 Ge\u0301ne\u0301rale Test", {"XLON:SAN": ["Societe Generale Test", "Socie\u0301te\u0301 Ge\u0301ne\u0301rale Test"]}),
    ("Ligatures are two letters", "Soren Aero, Søren Ærø", {"XLON:SAN": ["Soren Aero", "Søren Ærø"]}),
    ("A line break inside a name is a blank", "at Bank of\nAmerica and Wells \n Fargo", {"XNYS:BAC": ["Bank of\nAmerica"], "XNYS:WFC": ["Wells \n Fargo"]}),
    ("Tables write short names with blanks", "五 粮 液 涨停", {"XSHE:000858": ["五 粮 液"]}),
    ("Markup inside a name stays outside the match", "<b>Morgan</b> Stanley cuts", {"XNYS:MS": ["Morgan</b> Stanley"]}),
    ("A legal form tells companies apart", "Acme Corp. sues Acme Ltd; Acme said", {"XNYS:ACM": ["Acme Corp."], "XLON:ACM": ["Acme Ltd"]}),
    ("A legal form reaches as far as it goes", "共达晨光股份有限公司公告，晨光股份上涨", {"XSHE:002655": ["共达晨光股份有限公司"], "XSHG:603899": ["晨光股份"]}),
    # Boundaries.
    ("No name begins or ends inside a word", "Teslas, Metallica and Affordable Goldmanish Microsofties", {}),
    ("A paragraph ends a name", "Bank of\n\nAmerica first", {}),
    ("A longer name wins", "Bank of America says America is fine", {"XNYS:BAC": ["Bank of America"]}),
    ("A longer Chinese name wins", "平安银行上涨，中国平安下跌", {PING_AN_BANK: ["平安银行"], PING_AN: ["中国平安"]}),
    ("Of overlapping names the later is meant", "中国平安银行理财", {PING_AN_BANK: ["平安银行"]}),
    ("A longer English name is another company", "Ping An Good Doctor and Ping An", {"XHKG:1833": ["Ping An Good Doctor"], PING_AN: ["Ping An"]}),
    ("An industry is no bank", "中国银行业利润增长，中国银行表示", {"XSHG:601988": ["中国银行"]}),
    ("Chinese words follow a name without a blank", "贵州茅台、格林美分别净卖出", {"XSHG:600519": ["贵州茅台"], "XSHE:002340": ["格林美"]}),
    ("A place is no shop", "北京东城区的房价，京东财报", {"XNAS:JD": ["京东"]}),
    ("Latin names stand between Chinese characters", "特斯拉Tesla发布财报", {"XNAS:TSLA": ["特斯拉", "Tesla"]}),
    ("A hyphenated word names the company", "a Microsoft-backed startup", {"XNAS:MSFT": ["Microsoft"]}),
    # Addresses.
    ("Addresses name nobody", "https://www.tesla.com/microsoft news@tesla.com tesla.com www.microsoft.com bit.ly/Tesla", {}),
    ("A name can be an address", "Amazon.com and JD.com fell", {"XNAS:AMZN": ["Amazon.com"], "XNAS:JD": ["JD.com"]}),
    ("A missing blank after a sentence is no address", "Shares rose at Tesla.The end", {"XNAS:TSLA": ["Tesla"]}),
    ("A hashtag and a handle name the company", "#Tesla @Microsoft", {"XNAS:TSLA": ["Tesla"], "XNAS:MSFT": ["Microsoft"]}),
    ("Who passed a text on is not its subject", "RT @Tesla: rain today via @Microsoft", {}),
    ("Buttons under a text name nobody", "Tesla fell. Share on Microsoft | Amazon.com\nFollow us on Tesla and Microsoft", {"XNAS:TSLA": ["Tesla"]}),
    ("A share of a company is no button", "Earnings per share on Tesla and Microsoft rose", {"XNAS:TSLA": ["Tesla"], "XNAS:MSFT": ["Microsoft"]}),
    # Tickers.
    ("Cashtags", "$AAPL $tsla $BRK.B, $BRK/A. $BTC", {AAPL: ["$AAPL"], "XNAS:TSLA": ["$tsla"], "XNYS:BRK-B": ["$BRK.B", "$BRK/A"], "crypto:BTC": ["$BTC"]}),
    ("Money is no cashtag", "$5 US$AAPL $$AAPL $500M A$T", {}),
    ("A cashtag ends before a class that does not exist", "$AAPL.Great $F-150", {AAPL: ["$AAPL"], F: ["$F"]}),
    ("A coin and a company share a symbol", "$SUI rent growth", {"XNYS:SUI": ["$SUI"]}),
    ("In a text on coins the coin is meant", "$SUI leads altcoins", {"crypto:SUI": ["$SUI"]}),
    ("StockTwits marks coins", "$BTC.X $DOGE.X $AAPL.X", {"crypto:BTC": ["$BTC.X"], "crypto:DOGE": ["$DOGE.X"]}),
    ("An exchange stands before a ticker", "(NASDAQ: AAPL) NYSE:F, (NYSE: BRK.A, BRK.B) (LSE: SHEL)", {AAPL: ["AAPL"], F: ["F"], "XNYS:BRK-B": ["BRK.A", "BRK.B"], SHEL: ["SHEL"]}),
    ("An exchange before a ticker is no index", "Tesla (Nasdaq: TSLA) is a Nasdaq-listed company", {"XNAS:TSLA": ["Tesla", "TSLA"]}),
    ("An exchange behind a ticker", "<AAPL.O> (F.N) 600519.SH 600519.SS 00700.HK 700.HK 7203.T", {AAPL: ["AAPL.O"], F: ["F.N"], "XSHG:600519": ["600519.SH", "600519.SS"], "XHKG:0700": ["00700.HK", "700.HK"], "XTKS:7203": ["7203.T"]}),
    ("Codes with their exchange", "SH600519 sz000858 hk00700 (700 HK) (AAPL US)", {"XSHG:600519": ["SH600519"], "XSHE:000858": ["sz000858"], "XHKG:0700": ["hk00700", "700"], AAPL: ["AAPL"]}),
    ("A code in brackets behind a name", "机器人（300024）涨停，某公司(600519)", {"XSHE:300024": ["机器人", "300024"], "XSHG:600519": ["600519"]}),
    ("A number is no code", "共600519人，(2022)年 300024元 in (600519)", {}),
    ("A code behind its label", "证券代码：600519 股票代码:00700", {"XSHG:600519": ["600519"], "XHKG:0700": ["00700"]}),
    # Bare capitals.
    ("Bare capitals are words", "F for IT: ALL CEO and GDP, T minus one", {}),
    ("A bare ticker beside finance", "TSLA shares, long AAPL", {"XNAS:TSLA": ["TSLA"], AAPL: ["AAPL"]}),
    ("A bare ticker of a company that is named", "Ford Motor recalls trucks. F said", {F: ["Ford Motor"]}),
    ("A bare ticker alone is nothing", "The TSLA weekend", {}),
    # Names that are words, in English.
    ("A finance word beside it", "Apple shares fall; Gap's Q2 profit rises; shares of Target", {AAPL: ["Apple"], GAP: ["Gap"], TGT: ["Target"]}),
    ("A verb of companies behind it", "Visa raises dividend. Target posts record sales", {V: ["Visa"], TGT: ["Target"]}),
    ("A legal form behind it", "Gap Inc. and Target Corp and Shell plc", {GAP: ["Gap Inc."], TGT: ["Target Corp"], SHEL: ["Shell plc"]}),
    ("A cashtag of the same entity", "Apple is fun $AAPL", {AAPL: ["Apple", "$AAPL"]}),
    ("Its other name elsewhere", "Ford Motor met unions. On Monday Ford was calm", {F: ["Ford Motor", "Ford"]}),
    ("A capital inside running text, and finance", "Regulators told investors that Apple must change", {AAPL: ["Apple"]}),
    ("A list of companies", "Microsoft, Apple and Visa were quiet", {"XNAS:MSFT": ["Microsoft"], AAPL: ["Apple"], V: ["Visa"]}),
    ("An analyst of one bank on another company", "Morgan Stanley's Apple analyst is bullish", {"XNYS:MS": ["Morgan Stanley"], AAPL: ["Apple"]}),
    ("Fruit is no company", "Apple pie and apple juice sales rise. An apple a day", {}),
    ("A price target is no shop", "Raises Price Target on Tesla. TARGET PRICE CUT", {"XNAS:TSLA": ["Tesla"]}),
    ("Travel papers are no cards", "H-1B visa rules; US Visa Ban; visa fees", {}),
    ("A gap is no shop", "The gap between rich and poor; Pay Gap Widens; gap up", {}),
    ("A shell company is no oil company", "Shell company fraud; SHELL COMPANIES FINED", {}),
    ("A forest is no shop", "Fires in the Amazon rainforest. Amazon shares", {"XNAS:AMZN": ["Amazon"]}),
    ("A virus and a method are no companies", "Delta variant spreads. Meta-analysis of stocks", {}),
    ("Soup is no company", "An alphabet soup of funds", {}),
    ("A person is no company", "Michael Dell and Harrison Ford spoke; President J. Ford", {}),
    ("A foundation is no carmaker", "Ford Foundation gives grants to investors", {}),
    ("An ally is no bank", "Trump Ally Says Stocks Will Rise; a key ally", {}),
    ("Lower case in running text is a word", "The shell of the market target is gap filled by stocks", {}),
    ("A phrase in lower case is words", "These are the best buy ideas; Best Buy fell", {"XNYS:BBY": ["Best Buy"]}),
    ("A lower-case writer names companies", "apple shares going up lol", {AAPL: ["apple"]}),
    # Names that are words, in Chinese.
    ("A finance word beside it in Chinese", "苹果股价大跌，苹果公司回应", {AAPL: ["苹果", "苹果公司"]}),
    ("Fruit in Chinese", "苹果期货上涨，苹果树开花", {}),
    ("A sector is no company", "机器人板块走强，工业机器人涨停潮", {}),
    ("A company that is a word, in a list", "格林美、机器人、贵州茅台涨幅居前", {"XSHE:002340": ["格林美"], "XSHE:300024": ["机器人"], "XSHG:600519": ["贵州茅台"]}),
    ("An announcement begins with the name", "机器人：中标大单", {"XSHE:300024": ["机器人"]}),
    ("An ocean is no broker", "太平洋地区的岛国，南太平洋", {}),
    ("A broker is no ocean", "太平洋(601099)涨停", {"XSHG:601099": ["太平洋", "601099"]}),
    # What is no company.
    ("An amount is no currency", "5 million dollars, 100万美元, US$5, a billion US dollars", {}),
    ("A currency that moves", "The dollar weakens against the yen; 美元走强", {"currency:USD": ["dollar", "美元"]}),
    ("Gold that moves, and gold that does not", "Gold prices rise. He won a gold medal at Goldman Sachs", {"commodity:GOLD": ["Gold"], "XNYS:GS": ["Goldman Sachs"]}),
    ("Oil and oil companies", "Oil falls 3%. Oil company fined. Palm oil exports rise", {"commodity:OIL": ["Oil"]}),
    ("The Fed and being fed", "Fed raises rates. They were fed up", {"cb:FED": ["Fed"]}),
    ("The central bank without a country is the own one", "央行下调利率。澳洲央行加息，欧洲央行加息", {"cb:PBOC": ["央行"], "cb:ECB": ["欧洲央行"]}),
    ("A regulator of another place", "香港证监会公布规定。证监会核准发行", {"regulator:CSRC": ["证监会"]}),
    ("Index and exchange", "Nasdaq falls 2%, S&P 500 flat", {"index:IXIC": ["Nasdaq"], "index:SPX": ["S&P 500"]}),
    ("A city is not the first word of another name", "in New York Target headquarters; Ford shares", {F: ["Ford"]}),
    ("A cashtag nobody has is no name", "$ECB and $GOLD", {}),
    ("A lower-case writer who writes cashtags", "$AMZN In my view amazon will soar. Apple? $AAPL apple pie", {"XNAS:AMZN": ["$AMZN", "amazon"], AAPL: ["Apple", "$AAPL"]}),
    ("An exchange in Chinese before a ticker", "某公司（纽交所股票代码：F，港交所：700）", {F: ["F"], "XHKG:0700": ["700"]}),
    ("An exchange whose ticker nobody knows names nobody", "Acme (Nasdaq: ZZZQ) said", {}),
    ("A number is no name", "raised $52.3M for 7203 people", {}),
    ("Another oil is no crude oil", "Olive oil prices rise, oil prices rise", {"commodity:OIL": ["oil"]}),
    ("Shares on an exchange are no news of it", "It began trading on the Nasdaq", {}),
    ("A hyphen makes another word", "post-Target era, Meta-analysis, Apple-backed startup shares", {AAPL: ["Apple"]}),
    ("A contraction is no name", "Ally'll see what investors and shareholders say", {}),
    ("A title before a name of one word is a person", "Judge Ford told investors", {}),
    ("A trade name with its word in front", "Rival Target sues; carmaker Ford sues", {TGT: ["Target"], F: ["Ford"]}),
    ("A bank behind another word is another company", "平安证券、平安信托和平安股价", {PING_AN: ["平安"]}),
    ("A sentence that speaks of futures speaks of fruit", "商品期货收盘，苹果涨超6%，豆粕下跌", {}),
    ("A ticker in brackets behind a legal form", "Hedge funds sour on Zenbu, Inc. (TSLA)", {"XNAS:TSLA": ["TSLA"]}),
    ("Initials in brackets are no ticker", "Big Retail Kings (BRK) and initial public offering (IPO) stocks", {}),
    ("In a text on coins, brackets hold coins", "Altcoins: Uniqo (ALL) and Dogecoin (DOGE)", {"crypto:DOGE": ["Dogecoin", "DOGE"]}),
    ("The source of a text is not its subject", "一月贷款增加。（央行）", {}),
    ("A sector is no commodity", "黄金、有色等板块领涨，黄金期货上涨", {"commodity:GOLD": ["黄金"]}),
    ("What a company plans to do", "Gap to close 200 stores in the north", {GAP: ["Gap"]}),
    ("Members of a list of companies that are words", "平安、机器人、苹果集体上涨", {PING_AN: ["平安"], "XSHE:300024": ["机器人"], AAPL: ["苹果"]}),
    ("A cashtag in front of a longer name", "$QQZZ - Meta Zirconia: Stock Offering Gives It Funding", {}),
    # Boilerplate.
    ("Boilerplate names nobody", "Rain today.\nShare this article on Tesla and Microsoft", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_text_is_linked_to(linker: Linker, text: str, expected: dict[str, list[str]]) -> None:
    assert dict(links(linker, text)) == expected
