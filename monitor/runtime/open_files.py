"""The limit on open files.  Sockets count too: without any left, neither broker nor database is reached."""

import logging
import resource

log = logging.getLogger(__name__)

# What a monitor with all its connections can use; more only costs the system.
ENOUGH = 65_536


def raise_limit() -> None:
    """Use what the system allows this process, up to ENOUGH: the usual soft limit is only 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def open_file_limit() -> int:
    """How many files this process may open, once `raise_limit` was called."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)


def share_of_open_files(wanted: int) -> int:
    """`wanted`, or a quarter of the files that this process may open now, if that is less."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    share = wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft // 4, 1))
    if share < wanted:
        log.warning(
            "this process may open only %d files, so it accepts %d HTTP connections instead of "
            "http.max_connections = %d: raise the limit (systemd: LimitNOFILE=, shell: ulimit -n)",
            soft,
            share,
            wanted,
        )
    return share
