"""What feeds call languages: ISO 639 codes of two and three letters, BCP 47 tags, and names.

A tag that says that the language is unknown, such as `und`, `zxx` or X's `qct` for cashtags alone, is no
claim.
"""

import re
from functools import lru_cache

# ISO 639-1, then ISO 639-2 and -3 and withdrawn codes, then names in English and in the language itself.
# Codes of a Chinese language that is written in Chinese characters stand for Chinese.
LANGUAGES = """
aa aar afar
ab abk abkhazian
ae ave avestan
af afr afrikaans
ak aka akan
am amh amharic
an arg aragonese
ar ara arb arabic العربية
as asm assamese
av ava avaric
ay aym aymara
az aze azerbaijani
ba bak bashkir
be bel belarusian
bg bul bulgarian
bh bih
bi bis bislama
bm bam bambara
bn ben bengali
bo bod tib tibetan
br bre breton
bs bos bosnian
ca cat catalan valencian
ce che chechen
ch cha chamorro
co cos corsican
cr cre cree
cs ces cze czech
cu chu
cv chv chuvash
cy cym wel welsh
da dan danish
de deu ger german deutsch
dv div divehi dhivehi maldivian
dz dzo dzongkha
ee ewe
el ell gre greek
en eng english 英语 英語 英文
eo epo esperanto
es spa spanish castilian español espanol
et est estonian
eu eus baq basque
fa fas per pes persian farsi
ff ful fulah
fi fin finnish
fj fij fijian
fo fao faroese
fr fra fre french français francais
fy fry
ga gle irish
gd gla gaelic
gl glg galician
gn grn guarani
gu guj gujarati
gv glv manx
ha hau hausa
he heb iw hebrew
hi hin hindi
ho hmo
hr hrv croatian
ht hat haitian
hu hun hungarian
hy hye arm armenian
hz her herero
ia ina interlingua
id ind in indonesian bahasa
ie ile interlingue occidental
ig ibo igbo
ii iii nuosu
ik ipk inupiaq
io ido
is isl ice icelandic
it ita italian italiano
iu iku inuktitut
ja jpn japanese 日本語 日语 日文
jv jav javanese
ka kat geo georgian
kg kon kongo
ki kik kikuyu gikuyu
kj kua kuanyama kwanyama
kk kaz kazakh
kl kal kalaallisut greenlandic
km khm
kn kan kannada
ko kor korean 한국어 韩语
kr kau kanuri
ks kas kashmiri
ku kur kurdish
kv kom komi
kw cor cornish
ky kir kirghiz kyrgyz
la lat latin
lb ltz luxembourgish letzeburgesch
lg lug ganda
li lim limburgan limburger limburgish
ln lin lingala
lo lao
lt lit lithuanian
lu lub
lv lav latvian
mg mlg malagasy
mh mah marshallese
mi mri mao maori
mk mkd mac macedonian
ml mal malayalam
mn mon mongolian
mr mar marathi
ms msa may zsm malay
mt mlt maltese
my mya bur burmese
na nau nauru
nd nde ndebele
ne nep nepali
ng ndo ndonga
nl nld dut dutch flemish nederlands
no nor nb nn nob nno norwegian bokmål nynorsk
nr nbl
nv nav navajo navaho
ny nya chichewa chewa nyanja
oc oci occitan provençal
oj oji ojibwa
om orm oromo
or ori oriya
os oss ossetian ossetic
pa pan panjabi punjabi
pi pli pali
pl pol polish polski
ps pus pushto pashto
pt por portuguese português portugues
qu que quechua
rm roh romansh
rn run rundi
ro ron rum mo romanian moldavian moldovan
ru rus russian русский
rw kin kinyarwanda
sa san sanskrit
sc srd sardinian
sd snd sindhi
se sme
sg sag sango
si sin sinhala sinhalese
sk slk slo slovak
sl slv slovenian
sm smo samoan
sn sna shona
so som somali
sq sqi alb albanian
sr srp sh serbian
ss ssw swati
st sot sotho
su sun sundanese
sv swe swedish svenska
sw swa swahili
ta tam tamil
te tel telugu
tg tgk tajik
th tha thai
ti tir tigrinya
tk tuk turkmen
tl tgl fil tagalog filipino
tn tsn tswana
to ton tonga
tr tur turkish türkçe turkce
ts tso tsonga
tt tat tatar
tw twi
ty tah tahitian
ug uig uighur uyghur
uk ukr ukrainian
ur urd urdu
uz uzb uzbek
ve ven venda
vi vie vietnamese
vo vol volapük
wa wln walloon
wo wol wolof
xh xho xhosa
yi yid ji yiddish
yo yor yoruba
za zha zhuang chuang
zh zho chi cmn yue wuu nan hak gan hsn chinese mandarin
zh cantonese 中文 汉语 漢語 华语 普通话 国语 國語 粤语 粵語 简体中文 繁体中文 繁體中文
zu zul zulu
"""
# Languages that are not written in Latin script.  Arabic, Hindi and others often are by commenters.
HAN_OR_HANGUL = frozenset({"zh", "ja", "ko"})
OTHER_SCRIPTS = frozenset(
    {
        "am",
        "ar",
        "as",
        "be",
        "bg",
        "bn",
        "bo",
        "dv",
        "dz",
        "el",
        "fa",
        "gu",
        "he",
        "hi",
        "hy",
        "ka",
        "kk",
        "km",
    }
    | {"kn", "ks", "ky", "lo", "mk", "ml", "mn", "mr", "my", "ne", "or", "pa", "ps", "ru", "sa", "sd", "si"}
    | {"sr", "ta", "te", "tg", "th", "ti", "ug", "uk", "ur", "yi"}
)
SHORTEST_NAME = 4
WORD = re.compile(r"[^\W\d_]+")


def _table() -> dict[str, str]:
    words = (line.split() for line in LANGUAGES.strip().splitlines())
    return {word: code for code, *others in words for word in (code, *others)}


CODES = _table()


@lru_cache(1024)
def language_code(tag: str) -> str | None:
    """The ISO 639-1 code of what a feed calls a language, such as `en` for `eng`, `en_US.UTF-8` or
    `English (UK)`; None if it names none.

    The first word is a code or a name; another word counts if it is a name.
    """
    words = WORD.findall(tag.lower())
    if not words or words[0] in ("x", "i"):
        return None
    if words[0] in CODES:
        return CODES[words[0]]
    names = (word for word in words if len(word) >= SHORTEST_NAME or not word.isascii())
    return next((CODES[name] for name in names if name in CODES), None)
