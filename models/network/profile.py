"""The profile of a set of texts, as the model sees them.  `model.json` stores that of the training data."""

import msgspec

# Upper bounds of the buckets of a profile: tokens of a text, share of unknown tokens, confidence.  Stored
# profiles depend on them.
LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 256, 512)
SHARES = (0.001, 0.05, 0.1, 0.2)
CONFIDENCES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of texts: by bucket of token count and of unknown tokens, by label, by confidence."""

    texts: float
    tokens: tuple[float, ...]
    unknown: tuple[float, ...]
    labels: dict[str, dict[str, float]]
    confidence: dict[str, tuple[float, ...]]
