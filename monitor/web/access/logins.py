"""Who is logged in, and how people log in: by a password file, by OpenID Connect, or at a proxy in front."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from monitor.runtime.settings import HttpSettings, SettingsError
from monitor.web.access.groups import NotAllowed
from monitor.web.access.openid import OpenId
from monitor.web.access.passwords import PasswordFile, PasswordFileError, check_password
from monitor.web.access.proxy import Headers, TrustedProxy
from monitor.web.access.rate_limit import RateLimit
from monitor.web.access.settings import LoginSettings
from monitor.web.access.tokens import new_token, token_hash
from monitor.web.access.users import LOCAL, LONGEST_NAME, ROLES, User
from monitor.web.threads import Threads
from stream.domain.errors import StoreUnavailable
from stream.storage.audit import AuditEntry, add_audit, write_audit
from stream.storage.database import writing
from stream.storage.sessions import (
    Session,
    SessionLimits,
    begin_session,
    end_session,
    find_session,
    note_seen,
)

log = logging.getLogger(__name__)

CALLBACK = "/login/callback"
# Threads that look sessions up, apart from those of pages, which may wait for a slow query.  A look takes a
# millisecond, and every browser asks for what is new at the same moment.
SESSION_THREADS, WAITING_FOR_SESSIONS = 2, 1000
# Threads that wait for the provider.  Of passwords one is checked at a time: a hash of Argon2 takes 64 MiB,
# and both cores of a small machine.
PROVIDER_THREADS = 4
# Refused logins that are written down: so many at once, and then so many a minute.
NOTED, NOTED_A_MINUTE = 100, 10


@dataclass(frozen=True)
class Asker:
    """What a request says about who sent it."""

    token: str | None
    address: str
    headers: Headers
    # Whether somebody opened a page, and not a page that is open asked for what is new.
    is_active: bool


class Logins:
    """The logins of all processes that serve the pages of one database."""

    def __init__(self, http: HttpSettings, engine: Engine, clock: Callable[[], datetime]) -> None:
        """Raises SettingsError if the password file cannot be used."""
        settings = http.login
        self._settings, self._engine, self._clock = settings, engine, clock
        self._limits = SessionLimits(
            timedelta(seconds=settings.idle_seconds), timedelta(seconds=settings.session_seconds)
        )
        self._passwords = _password_file(settings)
        self._proxy = TrustedProxy(settings)
        self.openid = OpenId(settings, http.public_url.rstrip("/") + CALLBACK)
        self._noted = RateLimit(NOTED, NOTED_A_MINUTE)
        seconds = http.request_seconds / 2
        self.session_threads = Threads(SESSION_THREADS, seconds, WAITING_FOR_SESSIONS)
        self.login_threads = Threads(PROVIDER_THREADS if settings.method == "openid" else 1, seconds)

    @property
    def settings(self) -> LoginSettings:
        """The `[http.login]` part."""
        return self._settings

    @property
    def has_sessions(self) -> bool:
        """Whether people log in and out here, and not at a proxy."""
        return self._settings.method in ("password", "openid")

    def user(self, asker: Asker) -> User | None:
        """Who sent a request; None if they have to log in first.  Raises NotAllowed and StoreUnavailable."""
        match self._settings.method:
            case "none":
                return LOCAL
            case "proxy":
                return self._proxy.user(asker.address, asker.headers)
            case _:
                return self._user_of_session(asker)

    def check_password(self, name: str, password: str, address: str) -> str:
        """The token of a new session.  Raises NotAllowed and StoreUnavailable."""
        accounts = self._passwords.accounts() if self._passwords else {}
        account = check_password(accounts, name, password)
        if account is None:
            self.note_refusal(name, address)
            raise NotAllowed("this name and password do not belong together")
        return self.begin(account.user, address, account.credential)

    def begin(self, user: User, address: str, credential: str = "") -> str:
        """Log a user in; the token of the session.  Raises StoreUnavailable."""
        token, now = new_token(), self._clock()
        method = self._settings.method
        session = Session(token_hash(token), user.name, user.role.label, method, credential, now, now)
        with writing(self._engine) as connection:
            begin_session(connection, session, self._limits)
            add_audit(
                connection, AuditEntry(now, user.name, "login", address, f"as {user.role.label} by {method}")
            )
        return token

    def end(self, user: User, token: str, address: str) -> None:
        """Log a user out.  Raises StoreUnavailable."""
        with writing(self._engine) as connection:
            end_session(connection, token_hash(token))
            add_audit(connection, AuditEntry(self._clock(), user.name, "logout", address))

    def note_refusal(self, name: str, address: str) -> None:
        """Write down that somebody was not let in, unless too many were.  Raises StoreUnavailable."""
        if self._noted.take("", self._clock().timestamp()):
            return
        shown = "".join(filter(str.isprintable, name))[:LONGEST_NAME]
        log.warning("a login as %r from %s was refused", shown, address)
        write_audit(self._engine, AuditEntry(self._clock(), shown, "login refused", address))

    def _user_of_session(self, asker: Asker) -> User | None:
        if asker.token is None:
            return None
        now = self._clock()
        session = find_session(self._engine, token_hash(asker.token), self._limits, now)
        user = None if session is None else self._still_valid(session)
        if session is not None and user is not None and asker.is_active:
            # A page is shown even if the database is busy writing.
            with suppress(StoreUnavailable):
                note_seen(self._engine, session, now)
        return user

    def _still_valid(self, session: Session) -> User | None:
        """The user of a session, with the role that the password file gives them now."""
        if session.method != self._settings.method:
            return None
        if self._passwords is None:
            return User(session.user_name, ROLES[session.role])
        account = self._passwords.accounts().get(session.user_name)
        return account.user if account and account.credential == session.credential else None


def _password_file(settings: LoginSettings) -> PasswordFile | None:
    if settings.method != "password" or settings.passwords is None:
        return None
    try:
        return PasswordFile(settings.passwords)
    except PasswordFileError as error:
        raise SettingsError(f"http.login.passwords: {error}") from error
