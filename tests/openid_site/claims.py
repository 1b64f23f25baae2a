"""What the provider says about its users."""

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator

from tests.openid_provider import USERS


class Claims(OAuth2Validator):
    """Adds name, address and groups to every ID token."""

    oidc_claim_scope = None

    def get_additional_claims(self, request: Any) -> dict[str, Any]:
        user = request.user.username
        claims = {"preferred_username": user, "email": request.user.email, "email_verified": user != "bo"}
        return claims if USERS[user] is None else claims | {"groups": USERS[user]}
