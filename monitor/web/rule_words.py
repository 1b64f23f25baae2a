"""What the numbers of rules mean, in a few words; docs/alerts.md says more."""

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "baseline": "how far back what is usual reaches",
    "cool_down": "how long it stays quiet after an alert",
    "factor": "how many times what is usual",
    "false_pages_per_month": "how often it may page by chance",
    "flap_count": "alerts after which it is flapping",
    "flap_window": "the time in which these are counted",
    "for": "how long it must last before it fires",
    "keep_firing_for": "how long it must be over",
    "min_authors": "fewest authors of negative texts",
    "min_baseline": "least history to compare with",
    "min_documents": "fewest texts in the window",
    "min_expected": "fewest texts that are usual",
    "min_negative": "fewest negative texts",
    "min_novelty": "how new a text must be, to 100",
    "min_relevance": "how much a text is about the entity",
    "min_shift": "least change of the mood",
    "min_sources": "fewest sources of negative texts",
    "min_voices": "fewest independent voices",
    "resolve_at": "the value at which it is over",
    "resolve_factor": "times what is usual at which it is over",
    "step": "the steps that the window is cut into",
    "threshold": "the value beyond which it fires",
    "window": "the time that is looked at",
}
