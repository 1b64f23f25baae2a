"""How texts write the exchange of a ticker: in front of a colon, behind a dot, behind a blank.

Each is the MIC of the exchange (ISO 10383) that the gazetteer uses; of several, the first that lists the
ticker is meant.
"""

UNITED_STATES = ("XNAS", "XNYS", "BATS", "OTCM")
NYSE_FIRST = ("XNYS", "BATS", "XNAS", "OTCM")
CHINESE = ("XSHG", "XSHE", "XBSE")
EURONEXT = ("XPAR", "XAMS", "XBRU", "XLIS", "XDUB", "XOSL", "XMIL")
_NAMES: dict[tuple[str, ...], str] = {
    UNITED_STATES: "nasdaq nasdaqgs nasdaqgm nasdaqcm nasd nas nasdaq_gs us 纳斯达克 纳斯达克股票 美股 xnas",
    NYSE_FIRST: "nyse nysearca nyseamerican amex nysemkt arca bats cboe 纽交所 纽约证券交易所 xnys",
    ("OTCM", *UNITED_STATES): "otc otcmkts otcqb otcqx otcpk pink otcbb",
    ("XLON",): "lse lon london aim xlon 伦交所",
    ("XTSE", "XTKS"): "tsx tse tor xtse",
    ("XASX",): "asx xasx",
    ("XHKG",): "hkex sehk hkg hkse hk xhkg 港交所 港股 香港联交所 联交所",
    ("XSHG",): "sse sha shse sh xshg 上交所 沪市",
    ("XSHE",): "szse she shz sz xshe 深交所 深市",
    ("XBSE", "XNSE"): "bse bj xbse 北交所",
    CHINESE: "a股 沪深",
    ("XNSE",): "nse nsei nifty xnse bom",
    ("XTKS",): "tyo jpx tokyo xtks 东证",
    ("XKRX",): "krx kospi kosdaq kse xkrx",
    ("XTAI",): "tpe twse tai xtai 台股",
    ("XETR",): "etr xetra fwb fra fse ger xetr",
    ("XPAR", *EURONEXT): "epa par euronext xpar",
    ("XAMS",): "ams aex xams",
    ("XBRU",): "ebr bru xbru",
    ("XMIL",): "bit mil xmil",
    ("XMAD",): "bme mad mce xmad",
    ("XSWX",): "six swx vtx xswx",
    ("XSTO",): "sto xsto omx",
    ("XHEL",): "hel xhel",
    ("XCSE", "XTSE"): "cph cse xcse",
    ("XOSL",): "osl ose xosl",
    ("XSES",): "sgx ses xses",
    ("XJSE",): "jse xjse",
    ("BVMF",): "bovespa b3 bvmf",
    ("XMEX",): "bmv xmex",
    ("XSAU",): "tadawul xsau",
    ("XNZE",): "nzx nze xnze",
    ("XIST",): "bist ist xist",
    ("XTAE",): "tase tlv xtae",
    ("XWBO",): "wbo vie xwbo",
    ("XLIS",): "eli lis xlis",
    ("XDUB",): "ise dub xdub",
}
# In lower case, without blanks between the words but where a text has one.
EXCHANGES: dict[str, tuple[str, ...]] = {
    name: mics for mics, names in _NAMES.items() for name in names.split()
}
EXCHANGES |= dict.fromkeys(("nasdaq gs", "nasdaq gm", "nasdaq cm", "nasdaq global select"), UNITED_STATES)
EXCHANGES |= dict.fromkeys(
    ("nyse american", "nyse arca", "nyse mkt", "nyse amex", "new york stock exchange"), NYSE_FIRST
)
EXCHANGES |= dict.fromkeys(("otc markets", "otc pink", "other otc"), ("OTCM", *UNITED_STATES))
EXCHANGES |= {"euronext paris": ("XPAR",), "euronext amsterdam": ("XAMS",), "euronext brussels": ("XBRU",)}
# Behind a dot, as Reuters, Yahoo and Chinese vendors write it.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "O": UNITED_STATES, "OQ": UNITED_STATES, "N": NYSE_FIRST, "A": NYSE_FIRST, "P": NYSE_FIRST,
    "K": NYSE_FIRST, "US": UNITED_STATES, "PK": ("OTCM",), "SH": ("XSHG",), "SS": ("XSHG",), "SZ": ("XSHE",),
    "BJ": ("XBSE",), "HK": ("XHKG",), "T": ("XTKS",), "L": ("XLON",), "NS": ("XNSE",), "BO": ("XNSE",),
    "TO": ("XTSE",), "AX": ("XASX",), "PA": ("XPAR",), "AS": ("XAMS",), "BR": ("XBRU",), "LS": ("XLIS",),
    "IR": ("XDUB",), "DE": ("XETR",), "F": ("XETR",), "MI": ("XMIL",), "MC": ("XMAD",), "S": ("XSWX",),
    "SW": ("XSWX",), "ST": ("XSTO",), "HE": ("XHEL",), "CO": ("XCSE",), "OL": ("XOSL",), "KS": ("XKRX",),
    "KQ": ("XKRX",), "TW": ("XTAI",), "SI": ("XSES",), "SA": ("BVMF",), "MX": ("XMEX",), "JO": ("XJSE",),
    "SR": ("XSAU",), "SE": ("XSAU",), "NZ": ("XNZE",), "IS": ("XIST",), "TA": ("XTAE",), "VI": ("XWBO",),
}  # fmt: skip
# Behind a blank, as Bloomberg writes it.
_BLOOMBERG: dict[str, tuple[str, ...]] = {
    "US": UNITED_STATES, "UN": NYSE_FIRST, "UQ": UNITED_STATES, "UW": UNITED_STATES, "CH": CHINESE,
    "HK": ("XHKG",), "LN": ("XLON",), "JP": ("XTKS",), "JT": ("XTKS",), "GR": ("XETR",), "GY": ("XETR",),
    "FP": ("XPAR",), "NA": ("XAMS",), "BB": ("XBRU",), "IM": ("XMIL",), "SM": ("XMAD",), "SW": ("XSWX",),
    "SS": ("XSTO",), "FH": ("XHEL",), "DC": ("XCSE",), "NO": ("XOSL",), "KS": ("XKRX",), "TT": ("XTAI",),
    "SP": ("XSES",), "SJ": ("XJSE",), "BZ": ("BVMF",), "MM": ("XMEX",), "AB": ("XSAU",), "NZ": ("XNZE",),
    "IN": ("XNSE",), "IS": ("XNSE",), "AU": ("XASX",), "CN": ("XTSE",), "CT": ("XTSE",), "TI": ("XIST",),
    "AV": ("XWBO",), "PL": ("XLIS",), "ID": ("XDUB",),
}  # fmt: skip


def bloomberg(code: str) -> tuple[str, ...]:
    """The MICs of Bloomberg's code of an exchange; empty if it is not known."""
    return _BLOOMBERG.get(code, ())
