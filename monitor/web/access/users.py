"""Who asks, and the least role that a handler wants."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], None]
# Longest name that is stored with a session and in the audit log, in characters.
LONGEST_NAME = 200


class Role(IntEnum):
    """What somebody may do; a higher role may do all that a lower one may."""

    READER = 1  # see every page
    DESK = 2  # work on incidents
    ADMIN = 3  # change rules and watchlists, see the audit log

    @property
    def label(self) -> str:
        """Its name in settings and on pages, such as `desk`."""
        return self.name.lower()


ROLES = {role.label: role for role in Role}


@dataclass(frozen=True)
class User:
    """Somebody who asks for a page."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether they may do what this role may."""
        return self.role >= role


# Everybody on this machine, where no login is set.
LOCAL = User("local", Role.ADMIN)


def requires(role: Role) -> Guard:
    """A guard for handlers that only this role and higher ones may call; others get 403."""

    def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        user: User = connection.user
        if not user.may(role):
            raise PermissionDeniedException(
                f"{user.name} has the role {user.role.label}; this needs {role.label}"
            )

    return guard


def is_name(name: str) -> bool:
    """Whether this can be the name of a user: it is shown in pages and lines of the log."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()
