"""Whether the house's file of entities has changed since it was read."""

from pathlib import Path


class HouseFile:
    """A change counts when the file looks the same twice in a row: one that is being written may be valid
    halfway, with entries missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # The first look counts as a change: the file may have changed since somebody else read it.
        self._read: tuple[int, ...] | None = None
        self._seen = _fingerprint(path)

    def changed(self) -> bool:
        """Whether the file has changed, once for each change."""
        before, self._seen = self._seen, _fingerprint(self.path)
        if self._seen != before or self._seen == self._read:
            return False
        self._read = self._seen
        return True


def _fingerprint(path: Path) -> tuple[int, ...]:
    """Changes when the file does; empty if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino
