"""The token that a browser keeps in its cookie, and what is derived from it.

The server stores only the token's hash.  The other secrets of a visit, such as that of its forms, are derived
from the token: they need no storage, and a new token makes all of them new.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode

TOKEN_BYTES = 32
# As `secrets.token_urlsafe` writes them.
TOKEN_LENGTH = 43


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_token(text: str) -> bool:
    """Whether a browser can have got this from `new_token`."""
    return len(text) == TOKEN_LENGTH and text.isascii() and text.replace("-", "").replace("_", "").isalnum()


def token_hash(token: str) -> str:
    """What is stored of it: 64 hexadecimal digits.  It is long and random, so that a fast hash will do."""
    return hashlib.sha256(token.encode()).hexdigest()


def derive(token: str, purpose: str) -> str:
    """A secret for one purpose, 43 characters, from which the token cannot be found."""
    digest = hmac.new(token.encode(), purpose.encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def matches(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode(), expected.encode())
