"""Login at an OpenID provider: authorization code with PKCE (OpenID Connect Core 1.0, RFC 7636).

Nothing is kept between the way there and the way back: state, nonce and code verifier are derived from the
token in the browser's cookie, so that only the browser that began a login can end it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests import RequestException

from monitor.web.access.groups import NotAllowed, user_of
from monitor.web.access.settings import LoginSettings, is_safe_url
from monitor.web.access.tokens import derive, matches
from monitor.web.access.users import User

DISCOVERY = "/.well-known/openid-configuration"
# How long the provider may take to answer one request, and how far its clock may be from ours, in seconds.
TIMEOUT, LEEWAY = 10, 60
# Signatures by a public key: one made with a shared secret proves nothing to us.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
# Longest address on which a login may end.
LONGEST_NEXT = 500


class ProviderError(Exception):
    """The provider does not answer, or not as OpenID Connect says.  The message says what it did."""


@dataclass(frozen=True)
class Arrival:
    """Somebody who came back from the provider, and the page that they wanted."""

    user: User
    next: str


class OpenId:
    """The provider of the settings.  Methods block, and raise ProviderError."""

    def __init__(self, settings: LoginSettings, redirect_uri: str) -> None:
        """`redirect_uri` is where the provider sends people back, as it is registered there."""
        self._settings, self._openid, self._redirect_uri = settings, settings.openid, redirect_uri

    def login_address(self, token: str, next_: str) -> str:
        """The provider's page for a browser with this token, which wants the page `next_`."""
        metadata = self._metadata()
        with self._client() as client:
            url, _ = client.create_authorization_url(
                _endpoint(metadata, "authorization_endpoint"),
                state=_state(token, next_[:LONGEST_NEXT]),
                nonce=derive(token, "nonce"),
                code_verifier=derive(token, "verifier"),
            )
        return str(url)

    def arrive(self, token: str, query: str) -> Arrival:
        """Who came back with this query to the redirect address.  Raises NotAllowed too."""
        given = {name: values[0] for name, values in parse_qs(query).items()}
        state, _, next_ = given.get("state", "").partition(" ")
        if not matches(state, derive(token, f"state {next_}")):
            raise NotAllowed("this login was begun in another browser, or is over: begin again")
        if "error" in given:
            raise NotAllowed(f"the provider refused: {given.get('error_description', given['error'])[:200]}")
        if given.get("iss", self._openid.issuer) != self._openid.issuer:
            raise NotAllowed("the answer is from another provider")
        return Arrival(self._user(self._claims(token, given.get("code", ""))), next_)

    def _claims(self, token: str, code: str) -> Mapping[str, Any]:
        """What the provider says about the user: the ID token, and what only its endpoint for users says."""
        metadata = self._metadata()
        try:
            with self._client() as client:
                answer = client.fetch_token(
                    _endpoint(metadata, "token_endpoint"),
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=derive(token, "verifier"),
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
                claims = self._check(answer, metadata, derive(token, "nonce"))
                return self._with_user_info(client, metadata, claims)
        except (AuthlibBaseError, JoseError, RequestException, KeyError, TypeError, ValueError) as error:
            raise ProviderError(f"the provider's answer cannot be used: {_words(error)}") from error

    def _check(self, answer: Mapping[str, Any], metadata: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """The claims of the ID token, once signature, issuer, audience, times and nonce are right."""
        keys = KeySet.import_key_set(self._get(_endpoint(metadata, "jwks_uri")))  # type: ignore[arg-type]
        token = jwt.decode(answer["id_token"], keys, algorithms=ALGORITHMS)
        issuer, client_id = self._openid.issuer, self._openid.client_id
        claims = CodeIDToken(
            token.claims,
            token.header,
            options={
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": client_id},
            },
            params={"nonce": nonce, "client_id": client_id, "access_token": answer.get("access_token")},
        )
        claims.validate(leeway=LEEWAY)
        return dict(claims)

    def _with_user_info(
        self, client: OAuth2Session, metadata: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        wanted = (self._openid.name_claim, self._openid.groups_claim)
        if all(name in claims for name in wanted) or "userinfo_endpoint" not in metadata:
            return claims
        info = client.get(_endpoint(metadata, "userinfo_endpoint"), timeout=TIMEOUT).json()
        if info["sub"] != claims["sub"]:
            raise ValueError("it speaks of another user")
        return {**info, **claims}

    def _user(self, claims: Mapping[str, Any]) -> User:
        name, groups = claims.get(self._openid.name_claim), claims.get(self._openid.groups_claim, ())
        if not isinstance(name, str):
            raise NotAllowed(
                f"the provider gives no {self._openid.name_claim} (http.login.openid.name_claim)"
            )
        if self._openid.name_claim == "email" and claims.get("email_verified") is not True:
            raise NotAllowed(f"the provider has not verified the address {name[:200]}")
        listed = [groups] if isinstance(groups, str) else groups
        return user_of(name, (group for group in listed if isinstance(group, str)), self._settings)

    def _metadata(self) -> Mapping[str, Any]:
        """What the provider says about itself.  It is read for each login, so that it is never an old one."""
        issuer = self._openid.issuer
        metadata = self._get(issuer.rstrip("/") + DISCOVERY)
        if metadata.get("issuer") != issuer:
            raise ProviderError(f"the provider calls itself {metadata.get('issuer')!r}, not {issuer!r}")
        return metadata

    def _get(self, url: str) -> dict[str, Any]:
        try:
            with self._client() as client:
                answer = client.get(url, timeout=TIMEOUT, withhold_token=True, allow_redirects=False)
            answer.raise_for_status()
            content = answer.json()
        except (RequestException, ValueError) as error:
            raise ProviderError(f"{url} does not answer: {_words(error)}") from error
        if not isinstance(content, dict):
            raise ProviderError(f"{url} answers no JSON object")
        return content

    def _client(self) -> OAuth2Session:
        secret = self._openid.client_secret
        return OAuth2Session(
            self._openid.client_id,
            secret.get_secret_value() if secret else None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=" ".join(self._openid.scopes),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )


def _state(token: str, next_: str) -> str:
    """What comes back with the user: proof that this browser began the login, and the page it wanted."""
    return f"{derive(token, f'state {next_}')} {next_}"


def _endpoint(metadata: Mapping[str, Any], name: str) -> str:
    url = metadata.get(name)
    if not isinstance(url, str) or not is_safe_url(url):
        raise ProviderError(f"the provider gives no https:// address as its {name}")
    return url


def _words(error: Exception) -> str:
    """The error in a line of bounded length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
