"""Files as people have them, given to the commands that read texts."""

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from monitor.cli.main import main

TITLE = "Alderbrook Foods shares plunge 20% after profit warning"
ROWS = [{"id": "1", "title": TITLE}, {"id": "2", "title": TITLE}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


class Monitor:
    """Runs commands in this process, with bytes as standard input."""

    def __init__(self, folder: Path) -> None:
        self._environ: dict[str, str | None] = {
            "MONITOR_CONFIG": None,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "MONITOR_MODELS__BACKEND": "packed",
            "MONITOR_MODELS__DTYPE": "float32",
        }

    def __call__(self, *words: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(main, list(words), input=stdin, env=self._environ, catch_exceptions=False)


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Monitor:
    return Monitor(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    "stdin",
    [
        b"\xef\xbb\xbf" + LINES,
        LINES.decode().encode("utf-16"),
        gzip.compress(LINES),
        json.dumps(ROWS, indent=2).encode(),
        b'[ {"id": "1", "title": "%s"},\n {"id": 2.0, "title": "%s"} ]' % (TITLE.encode(), TITLE.encode()),
        b"id,title\r\n1,%s\r\n2,%s\r\n" % (TITLE.encode(), TITLE.encode()),
    ],
    ids=["mark", "utf-16", "gzip", "pretty", "array", "table"],
)
def test_classify_reads_what_other_programs_write(monitor: Monitor, stdin: bytes) -> None:
    done = monitor("classify", "--json", "-", stdin=stdin)
    assert done.exit_code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == ["1", "2"]
    assert {answer["sentiment"]["label"] for answer in answers} == {"negative"}


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        ("海港银行利润大幅下滑\n".encode("gb18030"), b"-:1: the file is not UTF-8; --encoding gb18030"),
        (LINES.decode().encode("utf-16-le"), b"--encoding utf-16-le"),
        (b"PK\x03\x04" + LINES, b"an Excel workbook: unpack it, or save the sheet as CSV UTF-8"),
    ],
    ids=["gb18030", "utf-16 without a mark", "workbook"],
)
def test_classify_gives_no_labels_for_what_it_cannot_read(
    monitor: Monitor, stdin: bytes, reason: bytes
) -> None:
    done = monitor("classify", "-", stdin=stdin)
    assert (done.exit_code, done.stdout_bytes) == (1, b"")
    assert reason in done.stderr_bytes and done.stderr_bytes.count(b"\n") == 1


def test_classify_reads_another_encoding_and_other_columns_if_they_are_named(monitor: Monitor) -> None:
    table = "编号,标题\n7,海港银行利润大幅下滑，发布亏损预警\n".encode("gb18030")
    words = ("--encoding", "gb18030", "--map", "id=编号,title=标题")
    done = monitor("classify", "--json", "-", *words, stdin=table)
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["id"], answer["lang"], answer["sentiment"]["label"]) == ("7", "zh", "negative")


def history(words: str, **fields: object) -> bytes:
    """A row an hour for a day, each with these words."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {
            "id": str(n),
            "published_at": (start + timedelta(hours=n)).isoformat(),
            "title": f"{words} {n}",
            **fields,
        }
        for n in range(24)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def documents(done: Result) -> int:
    assert done.exit_code == 0, done.stderr
    return int(json.loads(done.stdout)["documents"])


def test_a_backtest_reads_a_pipe_and_never_answers_for_another_one(monitor: Monitor) -> None:
    packed = gzip.compress(history("Alderbrook plunges"))
    assert documents(monitor("backtest", "--data", "-", "--json", stdin=packed)) == 24
    for size in (6, 3):
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(b"".join(history("Brightmoor falls").splitlines(keepends=True)[:size]))
        # A shell writes <(zcat ...) as such a path.
        assert documents(monitor("backtest", "--json", "--data", f"/dev/fd/{reading}")) == size
        os.close(reading)


def test_a_backtest_without_a_text_shows_what_is_wrong_with_the_rows(monitor: Monitor) -> None:
    rows = b'{"ts": 1772357400, "headline": "Shares fall"}\n{"ts": 1772357401, "headline": "Shares rise"}\n'
    done = monitor("backtest", "--data", "-", stdin=rows)
    assert done.exit_code == 1 and b"no classified documents in that time" not in done.stderr_bytes
    assert b"no row can be read (rows: 2); the first errors:" in done.stderr_bytes
    assert b"-:1: no title or text; the row has ts, headline: name the column with " in done.stderr_bytes
    assert b"--map title=headline,published_at=ts" in done.stderr_bytes
    done = monitor("backtest", "--data", "-", "--map", "title=headline", stdin=rows)
    assert b"-:1: no published_at, but 'ts': name the column with --map published_at=ts" in done.stderr_bytes
    days = monitor("backtest", "--data", "-", stdin=b'{"title": "Shares fall", "published_at": 45000.4}\n')
    assert b"it may be a day of Excel: --excel-days" in days.stderr_bytes


def test_local_times_are_read_in_the_zone_that_is_named(monitor: Monitor) -> None:
    rows = b'{"title": "Shares fall", "published_at": "2026/03/01 09:30"}\n'
    refused = monitor("backtest", "--data", "-", stdin=rows)
    assert b"-:1: published_at '2026/03/01 09:30': a local time without a zone" in refused.stderr_bytes
    assert b"--timezone" in refused.stderr_bytes
    words = ("backtest", "--json", "--data", "-", "--timezone", "Asia/Shanghai", "--to")
    assert documents(monitor(*words, "2026-03-01T01:30:01Z", stdin=rows)) == 1
    assert monitor(*words, "2026-03-01T01:30:00Z", stdin=rows).exit_code == 1
    unknown = monitor("classify", "-", "--encoding", "klingon", stdin=b"Shares fall")
    assert unknown.exit_code == 2 and "'klingon': the name of an encoding" in " ".join(unknown.stderr.split())
    wrong = monitor(*words, "2026-03-02", "--timezone", "Shanghai")
    assert wrong.exit_code == 2 and "Asia/Shanghai, or +08:00" in " ".join(wrong.stderr.split())


def test_ids_that_lost_their_digits_are_complained_about_and_missing_ones_are_not(monitor: Monitor) -> None:
    rows = [
        f'{{"id": NaN, "title": "Shares fall {n}", "published_at": "2026-03-01T09:30:00Z"}}' for n in range(3)
    ]
    rows += [
        f'{{"id": 152000000000000000{n}.0, "title": "x", "published_at": "2026-03-01T09:30:00Z"}}'
        for n in range(3)
    ]
    done = monitor("backtest", "--data", "-", "--json", stdin="\n".join(rows).encode())
    assert documents(done) == 3
    assert [line for line in (4, 5, 6) if f"-:{line}: id 1.52e+18".encode() in done.stderr_bytes] == [4, 5, 6]
