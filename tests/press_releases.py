"""Press releases of an invented company, and the legal text below them."""

ORDER = (
    "Corvane AG has won an order worth 2 billion euros to build 140 regional trains for the northern rail network, "
    "the largest contract in its history. The company raised its outlook for the year: it now expects revenue to grow "
    "by 12 to 14 percent and the operating margin to reach 9 percent. Chief executive Lena Marwick said demand was "
    "strong in every market and that the factory in Halden would hire 400 people. The shares rose 8 percent to a "
    "record high, and two analysts lifted their price targets."
)
LOSS = (
    "Corvane AG has cut its outlook for the year after a key rail customer cancelled an order for 90 trains. The "
    "company now expects revenue to fall by 10 percent and an operating loss of 120 million euros, and it will close "
    "its factory in Halden with 400 jobs. Chief executive Lena Marwick called the year disappointing and said the "
    "dividend would be suspended. The shares plunged 17 percent to their lowest level in six years, and two analysts "
    "slashed their price targets."
)
LEGAL = (
    "Forward-Looking Statements",
    "This release contains forward-looking statements about our business, results of operations and finances.",
    "These statements rest on the current beliefs of management and involve known and unknown risks, uncertainties "
    "and other factors.",
    "Actual results may differ materially from those expressed or implied here.",
    "Such risks include adverse changes in public budgets, the loss of major customers, cost overruns, penalties for "
    "late delivery, failures of suppliers and strikes.",
    "A downturn in the economy could reduce demand for our products and lead to losses.",
    "We may be unable to win new orders, and competition could force us to lower our prices.",
    "Litigation, investigations and claims may damage our reputation and cause significant expense.",
    "Cyber attacks could interrupt our operations and harm our customers.",
    "Higher interest rates and weak currencies may have a material adverse effect on our cash flow.",
    "If we fail to comply with laws on the environment, we could be fined.",
    "Our debt limits what we can do, and a breach of its terms could lead to default.",
    "Goodwill may have to be written off.",
    "Readers should not place undue reliance on these statements, which speak only as of today.",
    "We undertake no obligation to update them, except as required by law.",
)
ABOUT = (
    "About Corvane",
    "Corvane builds trains and signals and employs 12,000 people in nine countries.",
    "It was founded in 1921 and is headquartered in Halden.",
    "Contacts",
    "Investor relations: Jonas Petrik, ir@corvane.example, +49 30 5550 100",
    "Media: Ada Brandt, press@corvane.example",
)


def legal_text(separator: str = " ") -> str:
    """About 900 words: the legal sentences several times over, about the company, contacts."""
    return separator.join((*LEGAL, *LEGAL[1:] * 4, *ABOUT))
