"""The role of a user, from what a provider or a proxy says about them."""

from collections.abc import Iterable

from monitor.web.access.settings import EVERYBODY, LoginSettings
from monitor.web.access.users import Role, User, is_name

# A group that begins like this would speak of a user.
USER = "user:"


class NotAllowed(Exception):
    """Somebody is known, and may not see the pages.  The message says what is missing."""


def user_of(name: str, groups: Iterable[str], settings: LoginSettings) -> User:
    """The user with the highest role that the name or one of the groups has.  Raises NotAllowed."""
    if not is_name(name):
        raise NotAllowed(f"{name[:100]!r} cannot be the name of a user")
    own = {EVERYBODY, f"{USER}{name}"} | {group for group in groups if not group.startswith(USER)}
    by_role = {Role.ADMIN: settings.admins, Role.DESK: settings.desk, Role.READER: settings.readers}
    for role, listed in by_role.items():
        if own.intersection(listed):
            return User(name, role)
    raise NotAllowed(f"the user {name} is in none of the groups of http.login.readers, desk and admins")
