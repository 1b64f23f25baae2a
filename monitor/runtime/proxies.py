"""A proxy named by the environment is for hosts outside: never for this machine."""

import os
from collections.abc import MutableMapping

# httpx and requests read these; requests also understands the network of all loopback addresses.
LOOPBACK = ("localhost", "127.0.0.1", "::1", "127.0.0.0/8")


def keep_loopback_direct(environ: MutableMapping[str, str] = os.environ) -> None:
    """Add this machine to NO_PROXY, so that pages to receivers on it do not go to HTTP_PROXY."""
    # Where both are set, the clients read the one in lower case.
    name = "no_proxy" if environ.get("no_proxy") else "NO_PROXY"
    hosts = [host.strip() for host in environ.get(name, "").split(",") if host.strip()]
    if "*" not in hosts:
        environ[name] = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])
