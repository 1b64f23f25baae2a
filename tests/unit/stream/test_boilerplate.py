"""Which parts of a text are boilerplate."""

import pytest

from stream.domain.text.cleaning import clean
from tests.press_releases import LEGAL, LOSS, ORDER, legal_text

BOILERPLATE = [
    "We use cookies to give you the best experience. By clicking Accept you agree to our terms of use.",
    "Subscribe now to our newsletter.",
    "Already a subscriber? Sign in to continue.",
    "Get the top stories delivered to your inbox every morning.",
    "Follow us on Facebook.",
    "© 2026 Daily Wire. All rights reserved.",
    "Click here for the full list.",
    "Past performance is not a guide to future results.",
    "This article is not investment advice.",
    "Disclaimer: the views expressed here are those of the author.",
    "Investor relations: Jonas Petrik, ir@corvane.example, +49 30 5550 100",
    "About Corvane\nCorvane builds trains in nine countries.",
    "Media contact:\nAda Brandt\npress@corvane.example",
    "For further information please visit www.corvane.example.",
    "We value your privacy.",
    "Cookies help us deliver our services.",
    "View source version on presswire.example: https://presswire.example/1",
    "You are receiving this because you signed up at our site.",
    "SOURCE Corvane AG",
    "敬请广大投资者谨慎决策，注意投资风险。",
    "风险提示：原材料价格上涨，需求不及预期。",
    "免责声明：本文仅供参考，不构成投资建议。",
    "投资有风险，入市需谨慎。",
    "【风险提示】宏观经济波动；原材料价格上涨；坏账损失。投资者应谨慎决策。",
    "風險提示：本公司業績可能虧損，敬請廣大投資者注意投資風險。",
    "公司对公告内容的真实性承担个别和连带的法律责任。",
    "（责任编辑：林夏）",
    "点击阅读原文",
    "扫码关注公众号",
    "未经授权不得转载。",
    "特此公告。",
    "本公司董事会保证公告内容不存在虚假记载、误导性陈述或重大遗漏。",
]

NEWS = [
    "Google delays its plan to phase out third-party cookies",
    "Netflix subscribers fall for the second quarter",
    "Investors rush to subscribe to the Alderbrook share issue",
    "Alderbrook shares fall as investors sign up for fewer loans",
    "Meta changes its privacy policy after a fine",
    "Tarrant warns of risks to its outlook, shares fall",
    "The central bank sees risks and uncertainties for growth",
    "About 300 jobs are at risk at Kestrel",
    "Kestrel in contact with regulators about its loss",
    "Copyright suit against Kestrel dismissed",
    "Investors sue Kestrel: forward-looking statements were misleading",
    "Alderbrook files for bankruptcy after it lost its only customer",
    "Kestrel gives no advice on its dividend",
    "Trial results differ from those of last year, Kestrel falls",
    "Kestrel has no obligation to repay the loan, court says",
    "Kestrel disclaims any wrongdoing in bribery case",
    "Court: no duty to warn investors of the loss",
    "Carmakers place heavy reliance on Chinese batteries",
    "Views expressed by rate setters diverge",
    "Kestrel did not seek legal advice before the takeover",
    "The payment does not constitute a breach, Kestrel says",
    "Kestrel undertakes no new projects this year",
    "北辰科技发布股票交易风险提示公告，股价异常波动",
    "监管要求券商加强风险提示",
    "关于北辰科技的传闻不实",
    "北辰科技因虚报业绩承担法律责任",
    "投资者关注北辰科技亏损",
    "特别提示：北辰科技股票将被终止上市",
    "北辰科技因虚假记载和重大遗漏被立案调查",
    "法院判决北辰科技承担连带赔偿责任",
    "郑重声明：北辰科技从未破产",
    "联系人失踪，北辰集团债权人报案",
    "Source: Kestrel close to a deal",
    "Source says Kestrel in talks",
    "Investors view Kestrel as a safe harbour in the storm",
    "公司未经授权使用他人商标，被判赔偿",
]


@pytest.mark.parametrize("text", BOILERPLATE)
def test_boilerplate_alone_is_nothing_else(text: str) -> None:
    assert clean(text).only_boilerplate


@pytest.mark.parametrize("text", BOILERPLATE)
@pytest.mark.parametrize("news", ["Alderbrook cuts its dividend.", "北辰科技净利润大增八成。"])
def test_news_stays_whether_boilerplate_stands_before_or_behind_it(news: str, text: str) -> None:
    assert clean(f"{news}\n{text}").news.text.strip() == news
    assert clean(f"{text}\n\n{news}").news.text.strip() == news or "About" in text or "contact" in text


@pytest.mark.parametrize("text", NEWS)
def test_news_that_speaks_of_such_things_is_news(text: str) -> None:
    assert not clean(text).boilerplate


@pytest.mark.parametrize("separator", [" ", "\n", "\n\n"])
@pytest.mark.parametrize("release", [ORDER, LOSS])
def test_of_a_press_release_the_news_is_left(release: str, separator: str) -> None:
    cleaned = clean(release + separator + legal_text(separator))
    assert cleaned.news.text.strip() == release
    assert not cleaned.only_boilerplate


def test_a_list_of_risks_is_left_out_line_by_line() -> None:
    risks = (
        "* Investing involves risk, including possible loss of principal.\n"
        "* Results may differ materially from projections.\n"
        "* Weak markets could lead to losses.\n"
        "* We are under no obligation to update this material."
    )
    assert clean(f"{LOSS}\n{risks}").news.text == f"{LOSS}\n"
    assert clean(risks).only_boilerplate


def test_a_disclaimer_in_front_does_not_take_the_article_with_it() -> None:
    text = f"Disclaimer: the opinions expressed here are not investment advice.\n{LOSS}\n{ORDER}"
    assert clean(text).news.text.strip() == f"{LOSS}\n{ORDER}"


def test_a_safe_harbour_statement_at_the_start_of_a_call_does_not_take_the_call_with_it() -> None:
    text = f"{LEGAL[1]} {LEGAL[3]} {LEGAL[14]} {LOSS} {ORDER}"
    news = clean(text).news.text
    assert LOSS in news
    assert ORDER in news


def test_of_a_long_chinese_post_only_the_clause_with_the_notice_goes() -> None:
    cleaned = clean("这只股票量价齐升，短线有望再创新高，个人观点仅供参考，欢迎讨论后市走势")
    assert cleaned.news.text == "这只股票量价齐升，短线有望再创新高，欢迎讨论后市走势"


def test_boilerplate_is_found_in_html_and_leads_back_to_it() -> None:
    sent = "<p>Corvane wins &pound;2bn order.</p><p>All rights reserved.</p>"
    cleaned = clean(sent)
    ((start, end),) = cleaned.boilerplate
    first, last = cleaned.sent_span(start, end)
    assert sent[first:last] == "All rights reserved."
    assert cleaned.news.text == "Corvane wins £2bn order.\n"
    assert cleaned.news.sent_span(13, 17) == (16, 26)
