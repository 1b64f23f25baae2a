"""A small gazetteer for tests."""

from types import MappingProxyType

from models.entities.entity import Entity, EntityKind, Name
from models.entities.gazetteer import Gazetteer


def entity(id_: str, names: str, tickers: str = "", kind: EntityKind | None = None) -> Entity:
    """An entity; a name with ? in front needs evidence, the first of its names is the usual one."""
    prefix = id_.partition(":")[0]
    kinds = {"crypto": "crypto", "index": "index", "commodity": "commodity", "currency": "currency"}
    kinds |= {"cb": "central_bank", "regulator": "regulator"}
    written = [name.strip() for name in names.split("|")]
    own = tuple(Name(name.removeprefix("?"), name.startswith("?")) for name in written)
    listings = (*((id_,) if prefix not in kinds else ()), *tickers.split())
    return Entity(id_, kind or EntityKind(kinds.get(prefix, "company")), own[0].text, None, listings, own)


ENTITIES = (
    entity("XNAS:AAPL", "?Apple|Apple Inc.|?苹果|苹果公司"),
    entity("XNAS:MSFT", "Microsoft|Microsoft Corp|微软"),
    entity("XNAS:GOOGL", "Alphabet|Google|谷歌", "XNAS:GOOG"),
    entity("XNAS:TSLA", "Tesla|Tesla, Inc.|特斯拉"),
    entity("XNAS:AMZN", "Amazon|Amazon.com, Inc.|亚马逊"),
    entity("XNAS:META", "?Meta|Meta Platforms, Inc."),
    entity("XNAS:FORD", "Forward Industries, Inc."),
    entity("XNYS:BRK-B", "Berkshire Hathaway|Berkshire Hathaway Inc", "XNYS:BRK-A"),
    entity("XNYS:TGT", "?Target|Target Corp"),
    entity("XNYS:V", "?Visa|Visa Inc."),
    entity("XNYS:GAP", "?Gap|Gap Inc"),
    entity("XNYS:SHEL", "?Shell|Shell plc", "XLON:SHEL"),
    entity("XNYS:ALLY", "?Ally|Ally Financial|Ally Financial Inc."),
    entity("XNYS:F", "?Ford|Ford Motor|Ford Motor Co|福特"),
    entity("XNYS:GM", "General Motors|GM"),
    entity("XNYS:GS", "Goldman Sachs|Goldman Sachs Group Inc|高盛"),
    entity("XNYS:MS", "Morgan Stanley"),
    entity("XNYS:JPM", "JPMorgan Chase & Co|JPMorgan|J.P. Morgan|摩根大通"),
    entity("XNYS:WFC", "Wells Fargo|Wells Fargo & Company"),
    entity("XNYS:BAC", "Bank of America|Bank of America Corp"),
    entity("XNYS:DAL", "?Delta|Delta Air Lines"),
    entity("XNYS:KO", "Coca-Cola|Coca-Cola Co"),
    entity("XNYS:PG", "Procter & Gamble Co|Procter & Gamble"),
    entity("XNYS:MCD", "McDonald's|McDonald's Corp|麦当劳"),
    entity("XNYS:DELL", "Dell|Dell Technologies"),
    entity("XNYS:BBY", "Best Buy"),
    entity("XNYS:T", "AT&T|AT&T Inc."),
    entity("XNYS:SUI", "Sun Communities"),
    entity("XNYS:ALL", "Allstate"),
    entity("XLON:SAN", "Société Générale Test|Søren Ærø"),
    entity("XNYS:ACM", "Acme Corporation"),
    entity("XLON:ACM", "Acme Limited"),
    entity("XSHE:002655", "共达晨光|共达晨光股份有限公司"),
    entity("XSHG:603899", "晨光股份"),
    entity("XSHG:600519", "贵州茅台|Kweichow Moutai|贵州茅台酒股份有限公司"),
    entity("XSHG:601318", "中国平安|?平安|Ping An", "XHKG:2318"),
    entity("XSHE:000001", "平安银行|Ping An Bank|平安银行股份有限公司"),
    entity("XHKG:1833", "Ping An Good Doctor|平安好医生"),
    entity("XSHG:601988", "中国银行|Bank of China", "XHKG:3988"),
    entity("XSHE:002340", "格林美|格林美股份有限公司"),
    entity("XSHE:300024", "?机器人|新松机器人"),
    entity("XSHG:601099", "?太平洋|太平洋证券股份有限公司"),
    entity("XSHE:000858", "五粮液"),
    entity("XSHE:000002", "万科Ａ|万科", "XHKG:2202"),
    entity("XHKG:0700", "腾讯控股|腾讯|Tencent"),
    entity("XNAS:JD", "京东|JD.com", "XHKG:9618"),
    entity("XTKS:7203", "Toyota Motor|丰田汽车"),
    entity("XNAS:PDD", "拼多多"),
    entity("crypto:BTC", "Bitcoin|比特币", "BTC"),
    entity("crypto:SUI", "?Sui"),
    entity("crypto:ETH", "Ethereum|以太坊", "ETH"),
    entity("crypto:DOGE", "Dogecoin", "DOGE"),
    entity("index:SPX", "S&P 500|标普500", "^GSPC"),
    entity("index:IXIC", "?Nasdaq|Nasdaq Composite|纳斯达克指数", "^IXIC"),
    entity("commodity:GOLD", "?gold|gold price|黄金"),
    entity("commodity:OIL", "?oil|crude oil|Brent"),
    entity("currency:USD", "US dollar|dollar|美元"),
    entity("cb:FED", "Federal Reserve|?Fed|美联储"),
    entity("cb:PBOC", "People's Bank of China|?央行|中国人民银行"),
    entity("cb:ECB", "European Central Bank|ECB|欧洲央行"),
    entity("regulator:CSRC", "?证监会|中国证监会"),
)
SAMPLES = Gazetteer("test", MappingProxyType({each.id: each for each in ENTITIES}), {})
