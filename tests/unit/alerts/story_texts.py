"""One bad day of an invented bank: a text in many copies, and texts of their own by many origins."""

NEWS = "Northgate Bank halts withdrawals after depositors pull $2.4 billion in two days"
# The same text, as others send it.
COPIES = (
    NEWS,
    NEWS.upper(),
    f"RT @wire_desk: {NEWS}",
    f"UPDATE 1-{NEWS}",
    f"UPDATE 2-{NEWS}",
    f"BREAKING: {NEWS}",
    f"{NEWS} - Harbour Post",
    f"{NEWS} | Daily Ledger",
    f"{NEWS} (via Harbour Post)",
    NEWS.lower(),
    f"{NEWS}.",
    f"{NEWS}!",
    f"EXCLUSIVE: {NEWS}",
    f"{NEWS} https://ledger.example/n/81",
    f"{NEWS} - The Evening Standard Bearer",
    f"WRAPUP 1-{NEWS}",
    f"Breaking news: {NEWS}",
    f"{NEWS}...",
)
# Of one event, in words of their own.
OWN = (
    "Northgate Bank stops paying out deposits as $2.4 billion drains away",
    "Depositors locked out: Northgate Bank shuts its counters",
    "Run on Northgate Bank forces freeze on withdrawals",
    "Northgate Bank customers queue in vain after lender suspends cash payments",
    "Regulators rush to Northgate Bank as savings are frozen",
    "Shares of Northgate Bank collapse on withdrawal freeze",
    "Panic at Northgate Bank: tellers turn savers away",
    "Northgate Bank blames rumours for outflow of $2.4 billion, closes branches",
    "Central bank in talks to rescue stricken Northgate Bank",
    "Northgate Bank app shows no balances while withdrawals are blocked",
    "Rating of Northgate Bank slashed to junk after it froze deposits",
    "Small firms cannot pay wages as Northgate Bank locks accounts",
    "Bondholders of Northgate Bank brace for losses after freeze",
    "Northgate Bank chief resigns hours after stopping withdrawals",
    "Rivals cut credit lines to Northgate Bank as crisis deepens",
    "Lawmakers demand answers from Northgate Bank over blocked savings",
    "Hedge funds had bet against Northgate Bank before withdrawals were halted",
    "Deposit insurer warns Northgate Bank savers will wait for weeks",
)
_PLACES = [
    "Ardley",
    "Brinmoor",
    "Calder",
    "Dunmere",
    "Elswick",
    "Farrow",
    "Glenby",
    "Hartsea",
    "Ipsworth",
    "Jarrow",
    "Kelby",
    "Lunden",
]
_TRADES = [
    "cheese",
    "timber",
    "ferry",
    "pottery",
    "bicycle",
    "carpet",
    "orchard",
    "brewery",
    "salt",
    "glass",
    "wool",
    "lantern",
]
_NEWS = (
    "{place} {trade} maker opens a second hall",
    "Harvest of the {trade} guild in {place} is like last year's",
    "{place}: a festival of {trade} draws families",
    "Museum of {trade} in {place} shows old tools",
    "Pupils from {place} learn the {trade} craft",
    "Club of {trade} friends meets near {place} on Sunday",
    "A book on {trade} is printed in {place}",
    "{place} lays a path along its {trade} mill",
    "The {trade} fair moves to a field outside {place}",
    "Choir sings for the {trade} workers of {place}",
    "New lamps for the {trade} quarter of {place}",
    "Mayor of {place} thanks {trade} volunteers",
)


def dull(number: int) -> str:
    """A text that tells nothing of any bank; different numbers below 1,728 tell different things."""
    trade, place = _TRADES[number % 12], _PLACES[number // 12 % 12]
    return _NEWS[number // 144 % 12].format(trade=trade, place=place)
