"""`python -m tests.openid_site PORT REDIRECT_URI`: serve the provider until the process is ended."""

import os
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django

from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, PASSWORD, USERS


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line for every request."""


def fill(redirect_uri: str) -> None:
    """Make the tables, the users and the monitor's client."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from oauth2_provider.models import get_application_model

    call_command("migrate", run_syncdb=True, verbosity=0)
    for name in USERS:
        User.objects.create_user(name, f"{name}@desk.example", PASSWORD)
    application = get_application_model()
    application.objects.create(
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        redirect_uris=redirect_uri,
        algorithm=application.RS256_ALGORITHM,
        client_type=application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=application.GRANT_AUTHORIZATION_CODE,
        skip_authorization=True,
    )


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.openid_site.settings"
    django.setup()
    fill(sys.argv[2])
    from django.core.wsgi import get_wsgi_application

    with make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application(), Server, Quiet) as server:
        server.serve_forever()
