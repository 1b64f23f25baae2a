"""How boilerplate speaks, in English and Chinese: the patterns that `stream.domain.text.boilerplate` looks for."""

import re

# Patterns for lower-case text.  Each match has one of the words before it: a text without them pays nothing.
FORMULAS = {
    "forward-looking": r"forward-looking (?:statement|information|comment)s?+(?! (?:was|were|are) (?:\w+ )?(?:false|misleading))",
    "forward": r"forward looking (?:statement|information|comment)",
    "differ differs": r"\b(?:results?|outcomes?|events?|performance|developments?)\b.{0,90}\bdiffer.{0,40}\b(?:material|substantial|significant)|"
    r"\bdiffers? (?:\w+ )?(?:materially|substantially|significantly) from\b|\bcause (?:\w+ )?results to differ\b",
    "vary": r"\b(?:results?|outcomes?|performance)\b.{0,60}\bvary (?:\w+ )?(?:materially|substantially|significantly)",
    "obligation obligations": r"\b(?:no|any|an) (?:\w+,? ){0,3}obligations? to (?:\w+,? ){0,4}(?:update|revise|correct|publicly|release|amend|supplement)|"
    r"\bno (?:duty or )?obligation (?:is|whatsoever)\b",
    "duty": r"\bno (?:\w+ )?duty to (?:\w+,? ){0,3}(?:update|revise|correct|publicly)",
    "disclaim disclaims": r"\bdisclaims? (?:any|all)(?: \w+,?){0,4} (?:obligation|intent|intention|duty|liability|responsibility|warrant)",
    "undertake undertakes": r"\bnot undertake (?:any|to|an)\b|\bundertakes? no (?:\w+ )?(?:obligation|duty|responsib)",
    "uncertainties": r"\b(?:these|such|known|unknown|other|certain|various|inherent|involves?|to|including|of|numerous|many)"
    r"(?: \w+){0,3} risks(?: and|,) (?:\w+ )?uncertainties|"
    r"\brisks(?: and|,) (?:\w+ )?uncertainties,? (?:that|which|could|may|include|including|described|discussed|set|detailed)",
    "reliance": r"\b(?:undue|unwarranted) reliance\b|\b(?:not|no)\b(?: \w+){0,3} reliance (?:should|may|can|on (?:these|this|such|any|the (?:information|forward)))",
    "harbor harbour safe-harbor safe-harbour": r"\bsafe[- ]harbou?r (?:statement|provision|for forward|under|language|disclosure)",
    "contains contain includes include": r"\bthis (?:\w+ ){0,2}(?:release|announcement|document|presentation|report|communication) "
    r"(?:may |also )?(?:contains?|includes?) (?:\w+ ){0,3}(?:statements|projections|expectations)\b",
    "principal": r"\b(?:loss|risk) of (?:\w+ )?principal\b",
    "reform": r"private securities litigation reform act",
    "past": r"past performance (?:is|does|may|should|cannot|of)\b|past results (?:are|do|may)\b",
    "constitute constitutes": r"\b(?:not|nor|neither)\b(?: \w+,?){0,4} constitutes? (?:\w+ )?(?:offer|invitation|solicitation|recommendation|advice|endorsement|"
    r"investment|financial|legal|guarantee of future)\b",
    "construed": r"\bnot\b(?: \w+,?){0,3} construed\b",
    "advice": r"\b(?:not|nor)(?:[ ,/]+(?:be|is|it|an?|any|as|to|for|intended|constitut\w+|consider\w*|construed|meant|offered|provid\w+|or|and|of|used|form|"
    r"taken|regarded|personal|personali[sz]ed|legal|tax|accounting|investment|financial|trading|professional|other|recommendations?|endorsements?|should|"
    r"offer|solicitation)){0,20}[ ,/]+advice\b",
    "purposes": r"\b(?:informational?|information|educational|general|illustrati\w+|reference) purposes only",
    "factors": r"\brisk factors\W{1,3}(?:section|in (?:our|its|the)|set|described|contained|discussed|identified|included)",
    "10-k 10-q": r"\bform 10-[kq]\b.{0,120}\brisk",
    "cautioned": r"\b(?:are|is|should be) (?:\w+ )?cautioned (?:not|that|against)\b",
    "assurance assurances": r"\b(?:can|could|is|be) (?:be )?no assurances?\b",
    "hereof": r"\bdate hereof\b",
    "date": r"\bonly as of the date|\bas of the date of this (?:\w+ )?(?:release|announcement|document|report)",
    "solicitation": r"\boffer to (?:sell|buy|purchase)\b.{0,60}\bsolicitation|\bsolicitation of an? offer",
    "registered": r"\bnot been(?: and will not be)?,? registered under\b",
    "capital": r"\bcapital is at risk\b",
    "lose losing": r"\b(?:accounts|investors) lose money (?:when|trading|due)|\brisk of losing (?:your )?money|"
    r"\b(?:money|more than) (?:that )?you (?:can|cannot|can't|can’t) afford to lose\b",
    "expressed": r"\b(?:views|opinions?)(?: and \w+)?,? expressed (?:here|in th(?:is|e) (?:article|post|report|piece)|are (?:those|solely|the)|do not|by the author|is not)",
    "research": r"\b(?:do|perform|conduct|doing) (?:your|their) own research\b",
    "omissions": r"\b(?:liab|respons|errors or omissions)\w*.{0,60}\berrors or omissions\b",
    "non-gaap": r"\bnon-gaap (?:financial )?measures? (?:should|are|is|have|may|as|to|do|used)\b",
}  # fmt: skip
NOTICES = {
    "cookie cookies": r"\b(?:uses?|using|accept|reject|manage|decline|allow|disable|enable|our|these|necessary|essential|store|set) "
    r"(?:\w+ ){0,2}cookies\b|\bcookies (?:help|to (?:help|improve|enhance|ensure|provide|personali[sz]e|analy[sz]e|offer|give))\b|\bcookie (?:policy|settings|preferences|consent|notice|banner)",
    "subscribe unsubscribe subscriber": r"\bsubscribe(?: to read| to continue)?(?: now| today| here| below| for free|:| to (?:our|my|this|read|get|receive|the "
    r"(?:\w+ )?newsletter))|\balready a subscriber|\bunsubscribe\b",
    "sign": r"\bsign up\b(?: now| today| here| below| free|:| for (?:our|my|the (?:\w+ )?newsletter|a free|free|unlimited)| to "
    r"(?:our|receive|get|read|the (?:\w+ )?newsletter))|\bsign in (?:or|to (?:read|continue|view|access))\b",
    "log login": r"\blog ?in (?:or|to (?:read|continue|view|access))\b",
    "register": r"^\W*register (?:now|here|today|for free)\b",
    "inbox": r"\b(?:delivered|straight|directly|sent|in|to) (?:\w+ )?(?:to )?your inbox\b",
    "newsletter newsletters": r"\b(?:signing up|sign up|subscribing|subscribe)\b.{0,40}\bnewsletter",
    "click": r"\bclick here\b|^\W*click the (?:link|button)\b",
    "related": r"^\W*related (?:articles|stories|news|reading|links|posts)\b.{0,120}$",
    "advertisement": r"^\W*(?:advertisement|story continues below advertisement|advertisement - scroll.{0,30})\W*$",
    "share": r"^\W*share this (?:article|story|post|page|on)\b.{0,90}$",
    "follow": r"\bfollow us (?:on|at)\b",
    "join": r"\bjoin our (?:telegram|discord|channel|newsletter|community|whatsapp|mailing)",
    "trial": r"\b(?:start|begin|get|claim) (?:your|a) (?:\w+ )?free trial",
    "download": r"\bdownload our app\b",
    "reserved": r"\ball rights reserved\b",
    "copyright": r"\bcopyright (?:©|\(c\))? ?\d{4}|^\W*copyright(?: (?:©|\(c\)|by\b).{0,60})?\W*$",
    "©": r"© ?(?:copyright )?\d{4}",
    "reproduced": r"\b(?:may|must|can) not be (?:\w+,? ){0,3}reproduced|\breproduced\b.{0,40}\bpermission",
    "redistributed": r"\b(?:may|must|can) not be (?:\w+,? ){0,6}redistributed",
    "privacy": r"\bwe (?:value|respect|care about) your privacy\b|\b(?:our|read|see|the|to|accept|and) (?:\w+ )?privacy policy\b.{0,60}(?:\bterms|\bagree|\baccept|$)",
    "terms": r"\bterms of (?:use|service)\b.{0,40}\b(?:agree|accept|apply|privacy)|\b(?:agree|accept)\b.{0,30}\bterms of (?:use|service)",
    "clicking": r"\bby clicking\b.{0,90}\b(?:agree|accept|consent)",
    "continuing": r"\bby continuing\b.{0,90}\b(?:agree|accept|consent)",
    "information details": r"^\W*for (?:more|further|additional) (?:information|details)\b.{0,80}\b(?:visit|contact|call|see|e-?mail|go to|www|http)",
    "relations": r"^\W*(?:investor|media|press|public)(?: and media)? relations\s*[:,|\n]",
    "tel telephone phone mobile fax": r"^\W*(?:tel|telephone|phone|mobile|fax)\s*[.:]?\s*[+(\d]",
    "mail email e-mail": r"^\W*e-?mail\s*:",
    "@": r"^[^.!?]{0,60}\b[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,60}[^.!?]{0,40}\W*$",
    "view": r"^\W*view (?:source version|original content|(?:this )?(?:e-?mail|message|newsletter)? ?(?:in|on) (?:your |a )?(?:web )?browser)\b",
    "receiving": r"\byou(?:'re|’re| are) receiving this\b",
    "source": r"^\W*source (?:[\w&.,'’-]+ ){0,5}(?:ag|inc|corp|corporation|plc|ltd|limited|llc|se|group|company|co)\.?\s*$",
    "trademark trademarks": r"\b(?:are|is) (?:a |the )?(?:registered )?trademarks? of\b",
}  # fmt: skip
NOTICES_ZH = {
    "不构成": r"不构成[^，。；]{0,16}(?:建议|要约|承诺|依据|邀约|推荐)",
    "参考": r"(?:仅供|只供|仅作)[^，。；]{0,8}参考",
    "注意": r"(?:敬请|提请|提醒|请)[^，。；]{0,14}注意[^，。；]{0,8}风险|注意(?:防范)?投资风险",
    "决策": r"(?:谨慎|理性|审慎)(?:投资)?决策|据此(?:操作|入市|投资)",
    "理性投资": r"(?:敬请|请|注意)?[^，。；]{0,10}理性投资",
    "谨慎": r"(?:投资|入市|理财)(?:者)?(?:须|需|应|要)谨慎",
    "有风险": r"(?:市场|股市|投资|理财|入市)有风险(?=[，,、；\s]*(?:投资|入市|理财|选择|决策)?(?:须|需|应|要)?谨慎)",
    "虚假记载": r"(?:不存在|没有|无)[^，。；]{0,8}虚假记载[^，。；]{0,16}",
    "误导性陈述": r"(?:不存在|没有|无)[^，。；]{0,14}误导性陈述[^，。；]{0,10}",
    "连带": r"个别(?:和|及|或)连带(?:的)?(?:法律)?责任",
    "为准": r"(?:具体|最终|数据|内容|信息|请)[^，。；]{0,20}以[^。；]{0,30}(?:公告|披露|年报|报告|媒体|网站|刊登|文件)[^，。；]{0,8}为准|"
    r"以[^，。；]{0,20}(?:刊登|披露|发布)的[^，。；]{0,8}为准",
    "差异": r"实际[^，。；]{0,12}(?:重大|实质|较大)差异", "前瞻性": r"前瞻性(?:陈述|声明|信息|表述)",
    "未经": r"未经[^，。；]{0,14}(?:授权|许可|同意|允许)[^。]{0,12}(?:转载|复制|摘编|引用|翻版)",
    "不承担": r"本(?:网|站|公司|平台|文|公众号|报告)[^。]{0,24}不承担", "不代表": r"不代表本?(?:站|网|平台|公司|报|公众号|刊)?[^，。；]{0,6}(?:立场|观点|同意)",
    "扫": r"(?:扫码|扫描|扫一扫)[^，。；]{0,14}(?:关注|二维码|下载|订阅|加入|分享)", "长按": r"长按[^，。；]{0,12}(?:关注|二维码|识别)",
    "关注": r"关注[^，。；：]{0,14}(?:公众号|微信号|官微|官方微信)(?:[，,]?(?:获取|了解)[^，。；]{0,10})?", "公众号": r"(?:微信)?公众号[：:]",
    "订阅": r"(?:立即|欢迎|免费|点击)订阅",
    "点击": r"点击(?:上方|下方|左下角|右下角|图片|链接|此处|这里|上面|下面)?[^，。；]{0,6}(?:阅读|查看|了解|订阅|下载|关注)[^，。；]{0,4}"
    r"(?:原文|全文|更多|详情|$|！|!|>|我们)|点击(?:上方|下方|左下角)",
    "原文": r"阅读(?:原文|全文)", "责任编辑": r"责任编辑[:：]?\s*\S{0,12}", "编辑": r"(?:^|[\s(（])编辑[:：]\s*\S{2,6}$",
    "版权": r"版权(?:归|所有|声明)[^，。；]{0,16}", "转载": r"转载(?:请|须|需|务必)[^，。；]{0,12}", "特此公告": r"特此公告",
    "cookie": r"(?:使用|接受)(?:所有|全部)?\s*cookie", "热线": r"(?:咨询|联系|投诉|服务|客服)热线[:：]", "电话": r"(?:咨询|联系|投诉|服务|客服)电话[:：]", "隐私": r"(?:隐私|用户)(?:政策|协议)", "查看更多": r"返回搜狐，?查看更多|查看更多(?:精彩|内容)?$",
}  # fmt: skip
HEADING_CLUES = (
    "cautionary important legal special forward forward-looking safe safe-harbor safe-harbour disclaimer disclaimers "
    "disclosure disclosures risk editor editors contact contacts enquiries inquiries information about terms note"
)
HEADING_CLUES_ZH = ("风险", "声明", "提示", "陈述", "联系", "联络", "备查", "关于")
HEADING = re.compile(
    r"[-–—*•#=_\s]*+(?:\(?[一二三四五六七八九十\d]{1,3}\)?[、.．)）]\s*+)?[【\[(（“\"]?\s*+(?:"
    r"(?:(?:cautionary|important|special|legal) (?:statement|note|notice|information|disclosure|disclaimer|language)s?|"
    r"(?:note|statement|information|disclosure|caution|disclaimer|language)s? (?:regarding|on|about|concerning|as to) "
    r"forward[- ]looking|forward[- ]looking (?:statement|information)s?|safe[- ]harbou?r(?: \w+){0,4}|disclaimers?|"
    r"disclosures?|risk (?:factors|disclosures?|warnings?)|terms (?:and conditions|of use)|notes? to editors?|"
    r"(?:(?:media|press|investors?|analysts?|company|corporate|ir|pr|relations|and|&|/) ?){0,5}"
    r"(?:contacts?|enquiries|inquiries)(?: (?:information|details|us|person))?|"
    r"for (?:more|further|additional) information)"
    r"(?=[\])”\"]?\s*(?:$|[:：\n.—–-]|(?:about|regarding|on|concerning)\s+forward))"
    r"|(?:特别|重要|重大|投资)?风险(?:提示|警示|揭示|因素|声明)(?=[】\])）”\"]?\s*(?:$|[:：\n。])|[】\])）]|\s)"
    r"|(?:免责|法律|版权|前瞻性)(?:声明|陈述|条款)(?=[】\])）”\"]?\s*(?:$|[:：\n。])|[】\])）]?\s)"
    r"|(?:媒体|投资者|新闻|公司)?(?:联系|联络)(?:人|方式|我们|电话)?(?=\s*(?:[:：\n】]|$))"
    r"|备查文件(?=\s*(?:$|[:：\n】]|目录))"
    r")",
    re.IGNORECASE,
)
# "About ACME" on a line of its own; "About 300 jobs are at risk" is news.
ABOUT = re.compile(
    r"[-–—*•#=_\s]*+(?:About (?:(?:the )?[A-Z][\w&.,'’-]*|us\b|the company\b)(?: [\w&.,'’()-]+){0,7}"
    r"|关于(?:我们|[^，。\n]{2,16}(?:公司|集团|股份|科技|银行|控股)))\s*[:：]?\s*\n\s*\Z"
)
LEGAL_WORD = re.compile(
    r"\b(?:may|might|could|cannot|risks?|uncertain\w*|advers\w+|material(?:ly)?|loss(?:es)?|litigation|"
    r"proceedings|regulat\w+|legislation|laws?|compliance|assurances?|guarantees?|includ\w+|limitation|limited|"
    r"factors?|fluctuat\w+|competit\w+|conditions|failure|inability|ability|depend\w*|assumptions?|beliefs?|believes?|"
    r"anticipat\w+|expectations?|intends?|estimat\w+|projections?|statements?|"
    r"disclosures?|filings?|securities|investors?|shareholders?|holders|herein|hereof|hereby|thereof|pursuant|"
    r"liabilit\w+|liable|warrant\w+|responsib\w+|representations?|readers?|information|accuracy|"
    r"completeness|jurisdictions?|prospectus|registered|trademarks?|gaap|reconciliations?|measures?|cyber\w*|"
    r"disrupt\w+|delays?|changes?|pandemics?|epidemics?|terror\w+|disasters?|"
    r"headquarter\w+|founded|leading|provider|worldwide|employs|employees|subsidiaries|website|visit|www|contact|"
    r"relations|advis[eo]rs?|independent|forecasts?|goals|historical|"
    r"obligations?|events?|circumstances|control|otherwise|whether|any|such|should|shall|must|not)\b"
    r"|风险|不确定|可能|波动|谨慎|投资者|信息披露|指定媒体|为准|审计|本公告|本公司|本报告|政策|变化|变动|竞争|不及预期|因素|影响|责任|法律|声明|"
    r"准确|完整|预测|估计|假设|参考|决策|依据|网站|电话|邮箱|地址|成立于|总部|领先|致力于|提供商",
)
# What a risk is told with, which need not have other words of the law: "A strike could stop our plants."
POSSIBLE = re.compile(
    r"\b(?:may|might|could|would|can|cannot|if|risks?|uncertain\w*|advers\w+|unable|fail\w*|depend\w*|subject to)\b"
    r"|风险|不确定|可能|如果|若|导致|影响"
)
