"""Who first said a text: credits, publishers by their hosts and names, authors and sources."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.domain.documents import Document, Kind
from stream.domain.errors import InputFileError
from stream.domain.stories import LONGEST_ORIGIN
from stream.stories.origin import origin as origin_of
from stream.stories.publishers import SHIPPED, Publishers, Role, load_publishers, name_key

PUBLISHERS = load_publishers()
# Where there is no credit, the origin is this source.
FEED = "feed-7"
MIDDLE = "The board of Alderbrook Foods met on Tuesday. " * 40


def origin(
    text: str, publishers: Publishers = PUBLISHERS, kind: Kind = Kind.NEWS, **fields: str | None
) -> str:
    document = Document(
        id=fields.get("id") or "17",
        kind=kind,
        source=fields.get("source") or FEED,
        published_at=datetime(2026, 3, 2, tzinfo=UTC),
        title=fields.get("title") or "",
        text=text,
        author=fields.get("author"),
        url=fields.get("url"),
    )
    return origin_of(document, publishers)


CREDITS = {
    "An English text ends with who said it": [
        ("Alderbrook Foods cuts its outlook (Reuters)", "reuters"),
        ("Alderbrook Foods cuts its outlook - Reuters", "reuters"),
        ("Alderbrook Foods cuts its outlook -CNBC", "cnbc"),
        ("Alderbrook Foods cuts its outlook:Reuters", "reuters"),
        ("Alderbrook Foods drops merger plan: WSJ", "dowjones"),
        ("ALDERBROOK FOODS TO OPEN 12 SHOPS IN 2027-WSJ", "dowjones"),
        ("ALDERBROOK FOODS TO CUT 900 JOBS - RTRS SOURCES", "reuters"),
        ("Alderbrook Foods cuts its outlook | Bloomberg", "bloomberg"),
        ("Alderbrook Foods cuts its outlook — BBC News", "bbc"),
        ("Alderbrook Foods cuts its outlook. (Reporting by J. Doe; Editing by R. Roe) (Reuters)", "reuters"),
        ("Alderbrook Foods cuts its outlook (Reuters) (Reporting by J. Doe; Editing by R. Roe)", "reuters"),
        (MIDDLE + "(AP)", "ap"),
        (MIDDLE + "(Reuters)\n\nSubscribe to our newsletter for more.", "reuters"),
        ("Alderbrook Foods cuts its outlook (Reuters, AP)", "reuters"),
        ("Alderbrook Foods cuts its outlook - AFP/Reuters", "afp"),
        (MIDDLE + "\nSource: Dow Jones Newswires", "dowjones"),
        ("Shares fell. Source: Dow Jones Newswires", "dowjones"),
        ("Shares fell. (Source: Harbour Wire)", "harbour wire"),
    ],
    "An English text begins with who said it": [
        ("Reuters: Alderbrook Foods cuts its outlook", "reuters"),
        ("BREAKING: Reuters: Alderbrook Foods cuts its outlook", "reuters"),
        ("$ALDB WSJ: Alderbrook Foods explores a sale", "dowjones"),
        ("WSJ News Exclusive | Alderbrook Foods explores a sale", "dowjones"),
        ("Bloomberg - Alderbrook Foods explores a sale", "bloomberg"),
        ("(Bloomberg) -- Alderbrook Foods explores a sale", "bloomberg"),
        ("[AFP] Alderbrook Foods explores a sale", "afp"),
        ("By AFP\nAlderbrook Foods explores a sale", "afp"),
        ("By Jane Doe, The Associated Press\nAlderbrook Foods explores a sale", "ap"),
        ("via Reuters: Alderbrook Foods explores a sale", "reuters"),
    ],
    "A dateline names the agency": [
        (f"NEW YORK, Nov 3 (Reuters) - {MIDDLE}", "reuters"),
        (f"Nov 3 (Reuters) - {MIDDLE}", "reuters"),
        (f"Paris (AFP) - {MIDDLE}", "afp"),
        (f"WASHINGTON (AP) — {MIDDLE}", "ap"),
        (f"BEIJING, Nov. 3 (Xinhua) -- {MIDDLE}", "xinhua"),
        (f"New Delhi, Nov 3 (PTI) {MIDDLE}", "pti"),
        (f"Alderbrook to cut jobs\nNEW YORK, Nov 3 (Reuters) - {MIDDLE}", "reuters"),
        (f"<p>LONDON (Reuters) &#8211; {MIDDLE}</p>", "reuters"),
    ],
    "A press release names the wire that carries it": [
        (f"OSLO, Nov. 3, 2022 /PRNewswire/ -- {MIDDLE}", "prnewswire"),
        (f"OSLO, Nov. 3, 2022 /CNW/ - {MIDDLE}", "cnw"),
        (f"OSLO, Nov. 03, 2022 (GLOBE NEWSWIRE) -- {MIDDLE}", "globenewswire"),
        (f"SAN JOSE, Calif.--(BUSINESS WIRE)--{MIDDLE}", "businesswire"),
    ],
    "A post says whose text it passes on": [
        ("Alderbrook Foods cuts its outlook via Reuters", "reuters"),
        ("Alderbrook Foods cuts its outlook (via AP)", "ap"),
        ("Alderbrook Foods cuts its outlook (via Harbour Wire)", "harbour wire"),
        ("Alderbrook Foods cuts its outlook https://t.co/x1 via @business https://t.co/x2", "bloomberg"),
        ("Alderbrook Foods cuts its outlook via @jdoe_markets $ALDB #food", "jdoe_markets"),
        ("Who pays for the cuts? (via @jdoe &amp; @rroe) https://t.co/x1", "jdoe"),
        ("RT @JDoe: Alderbrook Foods cuts its outlook", "jdoe"),
        ("RT @rroe: RT @JDoe: Alderbrook Foods cuts its outlook", "jdoe"),
        ("RT @JDoe: Alderbrook Foods cuts its outlook - Reuters https://t.co/x1", "reuters"),
        ("RT @WSJAsia: Alderbrook Foods cuts its outlook", "dowjones"),
        ('Wow "@WSJ', FEED),
        ("“@WSJ: Alderbrook Foods cuts its outlook” Wow", "dowjones"),
    ],
    "A Chinese text ends with who said it": [
        ("北门银行三季度净利润同比增长12%。（新华社）", "xinhua"),
        ("北门银行三季度净利润同比增长12%（来源：新华社）", "xinhua"),
        ("北门银行三季度净利润同比增长12%。（新华社记者 张三）", "xinhua"),
        ("北门银行三季度净利润同比增长12%。（证券时报·e公司）", "stcn"),
        ("北门银行三季度净利润同比增长12%。 (一财)", "yicai"),
        ("北门银行三季度净利润同比增长12%。（央视新闻客户端）（责任编辑：李四）", "cctv"),
        ("北门银行三季度净利润同比增长12%。（央视新闻、新华社）", "cctv"),
        ("北门银行三季度净利润同比增长12%。（新华社） 责任编辑：李四", "xinhua"),
        ("北门银行三季度净利润同比增长12%。（新华社）\n责任编辑：李四", "xinhua"),
        ("北门银行三季度净利润同比增长12%。文 | 虎嗅", "huxiu"),
        ("북문은행 순이익 증가 (서울=연합뉴스)", "yonhap"),
        ("北門銀行が増益　[東京 3日 ロイター]", "reuters"),
        ("北门银行净利润增长12%_新浪财经_新浪网", "sina"),
        ("北门银行净利润增长12% 来源：某某晚报", "某某晚报"),
        ("北門銀行淨利增長12%。來源：信報", "hkej"),
    ],
    "A Chinese text begins with who said it": [
        ("【财联社】北门银行净利润增长12%", "cls"),
        ("财联社11月3日电，北门银行净利润增长12%", "cls"),
        ("【北门银行业绩大增】财联社11月3日讯，北门银行净利润增长12%", "cls"),
        ("【北门银行（600000）业绩大增】财联社11月3日讯，北门银行净利润增长12%", "cls"),
        ("北门银行业绩大增\n财联社11月3日讯，北门银行净利润增长12%", "cls"),
        ("《科创板日报》11月3日讯，北门银行净利润增长12%", "cls"),
        ("新华社北京11月3日电（记者张三）北门银行净利润增长12%", "xinhua"),
        ("新华社北京11月3日电2022年前十月，北门银行贷款增长12%", "xinhua"),
        ("法新社11月3日援引知情人士称，北门银行拟出售资产", "afp"),
        ("　　中国证券报记者获悉，北门银行拟出售资产", "cs-com-cn"),
        ("【北门银行拟出售资产】据路透社巴黎消息，北门银行拟出售资产", "reuters"),
        ("据路透调查：北门银行料将降息", "reuters"),
        ("（中央社台北3日电）北门银行净利润增长12%", "cna-taiwan"),
        ("证券时报网讯，北门银行净利润增长12%", "stcn"),
        ("智通财经APP获悉，北门银行净利润增长12%", "zhitongcaijing"),
        ("格隆汇11月3日丨北门银行净利润增长12%", "gelonghui"),
        ("彭博：北门银行拟出售资产", "bloomberg"),
        ("据新华社报道，北门银行净利润增长12%", "xinhua"),
        ("据央视新闻7月29日消息，北门银行净利润增长12%", "cctv"),
        ("来源：财联社 作者：张三 北门银行净利润增长12%", "cls"),
        ("转自：券商中国 北门银行净利润增长12%", "stcn"),
        ("2022-11-03 10:20 文章来源：和讯网\n北门银行净利润增长12%", "hexun"),
    ],
    "A publisher inside a sentence only told it": [
        ("Alderbrook Foods cuts its outlook, according to a Reuters report", FEED),
        ("Alderbrook Foods shares jump after WSJ report", FEED),
        ("Alderbrook Foods explores a sale, Bloomberg reports", FEED),
        ("Alderbrook chief tells CNBC that demand is back", FEED),
        (f"{MIDDLE} Rivals spoke to Reuters: they see no growth. {MIDDLE}", FEED),
        ("北门银行行长接受财联社采访时表示，净利润增长", FEED),
        ("北门银行回应新华社报道", FEED),
    ],
    "A company, a person or a word is no publisher": [
        ("Apple: iPhone sales fall", FEED),
        ("Fed holds rates - Powell", FEED),
        ("Dow Jones: up 120 points at noon", FEED),
        ("Nasdaq: tech shares slide", FEED),
        ("Yahoo: quarterly profit falls", FEED),
        ("Why you need a plan - Time", FEED),
        ("Fifty firms to watch: Fortune", FEED),
        ("$CNA - CNA raises its dividend", FEED),
        ("Alderbrook Foods rises (NYSE: ALDB)", FEED),
        ("Alderbrook Foods buys rivals (Northgate, Reuters)", FEED),
        ("Source: Alderbrook to buy Northgate", FEED),
        ("Alderbrook to list shares via IPO", FEED),
        ("Alderbrook raises $5m (via IPO)", FEED),
        ("Shares fell. Source Harbour Wire said", FEED),
        ("Shares fell. (Source: ALDB on TradingView)", FEED),
        ("腾讯：三季度业绩下滑", FEED),
        ("新华保险：保费增长", FEED),
        ("据中国网约车平台消息，订单增长", FEED),
        ("据中国网约车平台数据，订单增长", FEED),
        ("腾讯控股回购股份", FEED),
    ],
    "A credit of a picture or of data is none of the text": [
        ("Alderbrook Foods cuts its outlook. Photo: Reuters", FEED),
        ("北门银行净利润增长12%（数据来源：新华社）", FEED),
        ("北门银行净利润增长12% 图片来源：新华社", FEED),
        ("北门银行主要收入来源：广告", FEED),
        ("北门银行净利润增长12% 来源：网络", FEED),
    ],
}


@pytest.mark.parametrize(
    ("text", "expected"), [case for cases in CREDITS.values() for case in cases], ids=lambda text: text[:60]
)
def test_a_text_credits_whom_it_names_where_credits_stand(text: str, expected: str) -> None:
    assert origin(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [case for cases in CREDITS.values() for case in cases], ids=lambda text: text[:60]
)
def test_a_title_credits_as_a_text_does(text: str, expected: str) -> None:
    assert origin("", title=text) == expected


ADDRESSES = {
    "A host and its subdomains are the family": [
        ("https://www.reuters.com/markets/x", "reuters"),
        ("https://uk.reuters.com/x", "reuters"),
        ("http://blogs.marketwatch.com/x", "dowjones"),
        ("https://economictimes.indiatimes.com/x", "economictimes"),
        ("https://timesofindia.indiatimes.com/x", "timesofindia"),
        ("https://money.163.com/x", "netease"),
        ("www.ft.com/content/x", "ft"),
        ("//ft.com/x", "ft"),
    ],
    "A host that is not listed is its own family": [
        ("https://news.alderbrook-herald.co.uk:8080/x", "alderbrook-herald.co.uk"),
        ("https://a.b.alderbrook-herald.com", "alderbrook-herald.com"),
        ("https://finance.northgate.com.cn/x", "northgate.com.cn"),
        ("https://northgate.com.hk", "northgate.com.hk"),
        ("https://jdoe.substack.com/p/x", "jdoe.substack.com"),
        ("http://reuters.com.alderbrook.example/x", "alderbrook.example"),
        ("http://reuters.com@alderbrook.example/x", "alderbrook.example"),
        ("http://user:word@www.alderbrook.example:99999/", "alderbrook.example"),
        ("http://北门.cn/x", "xn--djrw86m.cn"),
        ("http://10.1.2.3:80/x", "10.1.2.3"),
    ],
    "An address without a host says nothing": [
        ("http://[::1/x", FEED),
        ("http://", FEED),
        ("urn:isbn:17", FEED),
        ("/markets/x", FEED),
        ("not an address", FEED),
        ("https://" + "a" * 70 + "é.example/", FEED),
        ("http://\ud800.example/", FEED),
        ("https://t.co/x1", FEED),
    ],
}


@pytest.mark.parametrize(
    ("url", "expected"),
    [case for cases in ADDRESSES.values() for case in cases],
    ids=lambda text: ascii(text)[:60],
)
def test_a_text_without_a_credit_is_of_the_publisher_of_its_address(url: str, expected: str) -> None:
    assert origin("Alderbrook Foods cuts its outlook", url=url) == expected


YAHOO = "https://finance.yahoo.com/news/x"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": YAHOO}, "yahoo"),
        ({"url": YAHOO, "author": "Jane Doe"}, "yahoo"),
        ({"url": YAHOO, "author": "Reuters"}, "reuters"),
        ({"url": YAHOO, "source": "Reuters"}, "reuters"),
        ({"url": YAHOO, "title": "Alderbrook cuts its outlook (Reuters)"}, "reuters"),
        ({"url": "https://www.ft.com/x", "author": "Reuters"}, "ft"),
        ({"url": "https://www.ft.com/x", "title": "Alderbrook cuts its outlook - Yahoo Finance"}, "yahoo"),
        ({"url": "https://x.com/jdoe/status/17", "author": "@JDoe"}, "jdoe"),
        ({"url": "https://x.com/jdoe/status/17"}, FEED),
        ({"author": "Yahoo Finance"}, "yahoo"),
        ({"url": "https://x.com/jdoe/status/17", "source": "unknown"}, "news:unknown:17"),
        ({"author": "Twitter"}, FEED),
        ({"url": "https://guba.eastmoney.com/x", "author": "小张"}, "小张"),
    ],
)
def test_a_portal_or_a_network_comes_after_the_publisher_it_shows(
    fields: dict[str, str], expected: str
) -> None:
    assert origin("Alderbrook cuts its outlook", **fields) == expected


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("Jane Doe", "jane doe"),
        ("  By JANE\u3000 Doe ", "jane doe"),
        ("@JDoe", "jdoe"),
        ("By Jane Doe, Reuters", "reuters"),
        ("Jane Doe for The Associated Press", "ap"),
        ("Reuters Staff", "reuters"),
        ("jane.doe@reuters.com (Jane Doe)", "reuters"),
        ("Fortune", "fortune"),
        ("财联社记者 张三", "cls"),
        ("张三 财联社", "cls"),
        ("作者：张三", "张三"),
        ("Staff", FEED),
        ("小编", FEED),
        ("[deleted]", FEED),
        (" ", FEED),
    ],
)
def test_a_text_without_an_address_is_of_its_author(author: str, expected: str) -> None:
    assert origin("Alderbrook cuts its outlook", author=author) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Reuters", "reuters"),
        ("REUTERS", "reuters"),
        ("reuters.com", "reuters"),
        ("https://www.reuters.com/rss", "reuters"),
        ("Reuters News", "reuters"),
        ("Reuters UK", "reuters"),
        ("reuters-rss", "reuters-rss"),
        ("Wall Street Journal (blog)", "dowjones"),
        ("财联社电报", "cls"),
        ("Harbour  Wire", "harbour wire"),
        ("--", "news:--:17"),
        ("unknown", "news:unknown:17"),
    ],
)
def test_a_text_without_an_author_is_of_its_source(source: str, expected: str) -> None:
    assert origin("Alderbrook cuts its outlook", source=source) == expected


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("u/Jane_Doe", "jane_doe"),
        ("/u/Jane_Doe", "jane_doe"),
        ("@Jane_Doe", "jane_doe"),
        (None, "comment:forum:17"),
        ("", "comment:forum:17"),
        ("[deleted]", "comment:forum:17"),
        ("Anonymous", "comment:forum:17"),
        ("匿名", "comment:forum:17"),
    ],
)
def test_a_comment_is_of_its_author_or_an_origin_of_its_own(author: str | None, expected: str) -> None:
    text = "RT @WSJ: Alderbrook cuts its outlook - Reuters"
    assert origin(text, kind=Kind.COMMENT, source="forum", author=author, url=YAHOO) == expected


def test_a_comment_without_an_author_and_with_a_long_id_is_an_origin_of_its_own() -> None:
    one, other = (origin("Up", kind=Kind.COMMENT, source="s" * 128, id="i" * 350 + end) for end in "ab")
    assert one != other
    assert len(one) == len(other) == LONGEST_ORIGIN


def test_the_shipped_list_names_each_family_host_and_name_once() -> None:
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    families = [row["family"] for row in rows]
    hosts = [host for row in rows for host in row["hosts"].split(";") if host]
    names = [name for row in rows for name in row["names"].split(";") if name]
    keys = [("@" if name.startswith("@") else "") + name_key(name) for name in names]
    assert len(families) >= 250
    assert families == sorted(set(families))
    assert len(hosts) == len(set(hosts)) and hosts == [host.lower() for host in hosts]
    assert len(keys) == len(set(keys))
    assert all(row["hosts"] or row["names"] for row in rows)
    assert {row["role"] for row in rows} == {"", Role.SYNDICATOR, Role.PLATFORM}


def test_a_file_adds_publishers_and_takes_hosts_and_names_from_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "publishers.csv"
    path.write_text(
        "\ufefffamily,hosts,names\n"
        "alderbrook,Alderbrook.example; cnbc.com,Alderbrook Wire;奥德布鲁克通讯社;@aldwire\n"
        "\n"
        "reuters,reuters.example,Harbour?\n",
        encoding="utf-8",
    )
    publishers = load_publishers(path)
    text = "Shares fell"
    assert origin(text, publishers, url="https://www.alderbrook.example/x") == "alderbrook"
    assert origin(text, publishers, url="https://www.cnbc.com/x") == "alderbrook"
    assert origin(text, publishers, url="https://www.reuters.com/x") == "reuters"
    assert origin(text, publishers, source="harbour") == "reuters"
    assert origin("Shares fell - Alderbrook Wire", publishers) == "alderbrook"
    assert origin("奥德布鲁克通讯社11月3日电，股价下跌", publishers) == "alderbrook"
    assert origin("Shares fell via @AldWire", publishers) == "alderbrook"
    assert origin("Shares fell - Harbour", publishers) == FEED


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("family,host,names\n", 1, "the columns family, hosts, names"),
        ("", 1, "the columns family, hosts, names"),
        ("family,hosts,names\nAcme Wire,acme.example,Acme\n", 2, "'Acme Wire'"),
        ("family,hosts,names\nacme,https://acme.example/x,Acme\n", 2, "'https://acme.example/x'"),
        ("family,hosts,names\nacme,acme,Acme\n", 2, "'acme' must be a domain"),
        ("family,hosts,names\nacme,acme.example,?\n", 2, "name '?'"),
        ("family,hosts,names\nacme,acme.example,Acme,x\n", 2, "more cells"),
        ("family,hosts,names,role\nacme,acme.example,Acme,portal\n", 2, "'portal'"),
        ("family,hosts,names\nacme,acme.example,\napex,acme.example,\n", 3, "on line 2 too"),
        ('family,hosts,names\nacme,"acme.example\n', 2, "cannot be read"),
    ],
)
def test_an_error_in_a_file_of_publishers_names_file_and_line(
    tmp_path: Path, content: str, line: int, what: str
) -> None:
    path = tmp_path / "publishers.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputFileError) as error:
        load_publishers(path)
    assert f"{path}:{line}: " in str(error.value)
    assert what in str(error.value)


def test_a_missing_file_of_publishers_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"publishers\.csv"):
        load_publishers(tmp_path / "publishers.csv")


PIECES = st.sampled_from(
    [
        "RT @",
        "via @",
        "(",
        ")",
        "【",
        "】",
        "（来源：",
        "Reuters",
        " - ",
        "|",
        ": ",
        "据新华社",
        "11月3日电",
        "<p>",
        "&amp;",
        "http://",
        "#",
        "\n",
        "$A",
        "ﷺ",
        "\ud800",
        "\0",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join)


@given(st.sampled_from(Kind), TEXTS, TEXTS, st.none() | TEXTS, st.none() | TEXTS, TEXTS)
def test_any_document_has_one_short_printable_origin(
    kind: Kind, title: str, text: str, author: str | None, url: str | None, source: str
) -> None:
    document = Document("17", kind, source, datetime(2026, 3, 2, tzinfo=UTC), title, text, author, url)
    found = origin_of(document, PUBLISHERS)
    assert 0 < len(found) <= LONGEST_ORIGIN
    assert found.isprintable()
    assert origin_of(document, PUBLISHERS) == found


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "piece",
    [
        "(",
        "（",
        "<",
        "via ",
        "RT @a ",
        "via @a ",
        "a.",
        "- ",
        "来源",
        "北京",
        "http://",
        " ",
        "&#",
        "@",
        "#a ",
    ],
)
def test_a_hostile_text_takes_no_longer_than_its_length(piece: str) -> None:
    hostile = piece * 200_000
    assert origin(hostile, title=hostile, author=hostile, url=hostile, source=hostile)
    assert origin(hostile, url="http://" + hostile)
