"""Files of texts as people have them: compressed, in other encodings, as arrays and as CSV."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam
import pytest

from stream.domain.errors import InputFileError
from stream.domain.files import input_rows, text_files
from stream.domain.files.input_rows import InputRow, read_rows

ROWS = [{"id": "1", "title": "Profit doubles at Acme"}, {"id": "2", "title": "海港银行下调年度预期"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
PRETTY = json.dumps(ROWS, ensure_ascii=False, indent=2)


def read(path: Path, **options: Any) -> list[InputRow]:
    return list(read_rows(path, **options))


def write(tmp_path: Path, content: bytes, name: str = "f.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def fields(rows: list[InputRow]) -> list[Any]:
    assert [row.error for row in rows] == [None] * len(rows)
    return [dict(row.fields or {}) for row in rows]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: bytes(cramjam.zstd.compress(data)),
}
ENCODERS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16 little": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "utf-16 big": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "gb18030 with a mark": lambda text: ("\ufeff" + text).encode("gb18030"),
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_file_is_read_however_it_is_compressed_and_encoded(
    tmp_path: Path, packer: str, encoder: str
) -> None:
    path = write(tmp_path, PACKERS[packer](ENCODERS[encoder](LINES)))
    assert fields(read(path)) == ROWS


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    [
        LINES,
        PRETTY,
        json.dumps(ROWS, ensure_ascii=False),
        "[ " + ",\n  ".join(LINES.splitlines()) + " ]\n",
        "\n[\n" + ",\n".join(LINES.splitlines()) + "\n]",
        "\n".join(json.dumps(row, ensure_ascii=False, indent=2) for row in ROWS),
    ],
)
def test_json_is_read_in_every_layout(tmp_path: Path, text: str, newline: str) -> None:
    rows = read(write(tmp_path, text.replace("\n", newline).encode()))
    assert fields(rows) == ROWS


def test_a_bad_element_of_an_array_harms_only_itself(tmp_path: Path) -> None:
    rows = read(
        write(tmp_path, b'[\n {"id": "1"},\n {"id": nope},\n {"id": "a\\"]}[{"},\n 5,\n {"id": "4"}\n]\n')
    )
    assert [row.line for row in rows] == [2, 3, 4, 5, 6]
    assert [row.fields and row.fields["id"] for row in rows] == ["1", None, 'a"]}[{', None, "4"]
    assert "not JSON" in (rows[1].error or "") and "expected JSON objects, not '5" in (rows[3].error or "")


def test_an_array_that_is_not_closed_says_where_it_begins(tmp_path: Path) -> None:
    *_, last = read(write(tmp_path, b'[\n{"id": "1"},\n{"id": "2", "title": "x\n'))
    assert last.line == 3 and "not closed" in (last.error or "")


def test_elements_are_found_across_the_pieces_in_which_a_long_line_is_read(tmp_path: Path) -> None:
    texts = ["\\" * n + '"' * (n % 3) + "x" * 40_000 for n in range(6)]
    rows = read(write(tmp_path, json.dumps([{"text": text} for text in texts]).encode()))
    assert [row["text"] for row in fields(rows)] == texts
    for shift in range(4):
        text = "x" * (input_rows.PIECE - 12 + shift) + '\\"'
        rows = read(write(tmp_path, json.dumps([{"text": text}, {"text": "y"}]).encode()))
        assert [row["text"] for row in fields(rows)] == [text, "y"]


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("csv", ";"), ("tsv", "\t"), ("CSV", "|")])
def test_a_table_is_read_with_its_own_delimiter(tmp_path: Path, suffix: str, delimiter: str) -> None:
    header = delimiter.join(["id", "title", "note"])
    body = delimiter.join(["7", '"Brandt ""wins""\nagain"', ""])
    path = write(tmp_path, f"{header}\r\n{body}\r\n\r\n{body}\r\n".encode(), f"f.{suffix}")
    rows = read(path)
    assert fields(rows) == [{"id": "7", "title": 'Brandt "wins"\nagain', "note": None}] * 2
    assert [row.line for row in rows] == [2, 5]


def test_a_table_is_recognised_by_its_header_and_may_be_compressed(tmp_path: Path) -> None:
    table = "id,title\n1,海港银行\n".encode()
    assert fields(read(write(tmp_path, table, "pipe"))) == [{"id": "1", "title": "海港银行"}]
    packed = write(tmp_path, gzip.compress(table), "f.csv.gz")
    assert fields(read(packed, text_columns=["title"])) == [{"id": "1", "title": "海港银行"}]
    assert fields(
        read(
            write(tmp_path, "id,headline\r1,x\r2,y\r".encode("utf-16"), "mac.csv"), text_columns=["headline"]
        )
    )[1] == {"id": "2", "headline": "y"}


def test_a_table_that_names_its_delimiter_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfsep=;\r\nid;title\r\n1;x, y\r\n", "f.csv")
    assert fields(read(path)) == [{"id": "1", "title": "x, y"}]


def test_a_table_with_other_columns_is_not_read_as_plain_texts(tmp_path: Path) -> None:
    path = write(tmp_path, b"ID,Headline,Date\n1,Shares fall,2026-03-01\n", "pipe")
    with pytest.raises(InputFileError, match="no column text or title: the header has ID, Headline, Date"):
        read(path, plain_text=True)
    text = write(tmp_path, b"Oil, gas and time\nShares fall, date unknown\n", "texts")
    assert read(text, plain_text=True)[0].text == "Oil, gas and time"


def test_a_cell_may_be_large_and_a_bad_row_harms_only_itself(tmp_path: Path) -> None:
    large = "x" * 300_000
    path = write(tmp_path, f'id,text\n1,{large}\n2,a,b\n3,"a"b\n4,good\n'.encode(), "f.csv")
    first, second, third, last = read(path)
    assert first.fields == {"id": "1", "text": large} and last.fields == {"id": "4", "text": "good"}
    assert second.line == 3 and "3 cells, but the header has 2" in (second.error or "")
    assert third.line == 4 and "not CSV" in (third.error or "")


def test_a_quote_that_is_not_closed_is_reported_where_it_opens(tmp_path: Path) -> None:
    *_, last = read(write(tmp_path, b'id,text\n1,a\n2,"b\n3,c\n', "f.csv"))
    assert last.line == 3 and "is a quote open?" in (last.error or "")


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ("海港银行下调年度预期\n".encode("gb18030"), "f.txt", "--encoding gb18030 reads it as '海港银行"),
        ("Société Générale chute à Paris\n".encode("cp1252"), "f.txt", "cp1252 (Western)"),
        (LINES.encode("utf-16-le"), "f.jsonl", "--encoding utf-16-le"),
        (LINES.encode("utf-16-be"), "f.jsonl", "--encoding utf-16-be"),
        (b"PK\x03\x04...", "f.xlsx", "an Excel workbook"),
        (b"PAR1...", "f.parquet", "a Parquet file"),
        (b"\x04\x22\x4d\x18...", "f.lz4", "lz4 -dc"),
        ("海港銀行利潤大幅下滑\n".encode("big5"), "f.txt", "big5 (Chinese)"),
        ("トヨタの株価が下落\n".encode("shift_jis"), "f.txt", "shift_jis (Japanese)"),
        ("海港银行利润下滑\n".encode("utf-16-le"), "f.txt", "--encoding utf-16-le"),
        (b"some\0by\0t\0e\0s\n", "f.txt", "not a text file"),
        (b"\n<?xml version='1.0'?><rss/>\n", "f.xml", "XML, HTML or RTF"),
        (b"{\\rtf1 Shares fall}\n", "f.rtf", "XML, HTML or RTF"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "f.gz", "compressed twice"),
        (gzip.compress(LINES.encode() * 50, mtime=0)[:60], "f.gz", "cannot be read"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 50, "f.zst", "cannot be read"),
        (b"id,headline\n1,x\n", "f.csv", "no column text or title: the header has id, headline"),
        (b"id,text,text\n1,x,y\n", "f.csv", "the column 'text' is there twice"),
    ],
)
@pytest.mark.parametrize("plain_text", [False, True])
def test_a_file_that_cannot_be_read_is_refused_with_what_helps(
    tmp_path: Path, content: bytes, name: str, reason: str, plain_text: bool
) -> None:
    with pytest.raises(InputFileError) as refused:
        read(write(tmp_path, content, name), plain_text=plain_text)
    assert reason in str(refused.value) and name in str(refused.value)


def test_another_encoding_is_read_if_it_is_named(tmp_path: Path) -> None:
    assert fields(read(write(tmp_path, LINES.encode("gb18030")), encoding="gb18030")) == ROWS
    assert fields(read(write(tmp_path, LINES.encode("utf-16-le")), encoding="utf-16-le")) == ROWS
    assert fields(read(write(tmp_path, LINES.encode("utf-16")), encoding="utf-16")) == ROWS
    with pytest.raises(InputFileError, match="'klingon' is no encoding"):
        read(write(tmp_path, b"{}"), encoding="klingon")


@pytest.mark.parametrize("shift", range(3))
def test_a_character_at_the_end_of_what_is_looked_at_is_whole(tmp_path: Path, shift: int) -> None:
    row = {"title": "x" * shift + "海" * 40_000}
    assert fields(read(write(tmp_path, json.dumps(row, ensure_ascii=False).encode()))) == [row]


def test_a_line_in_another_encoding_harms_only_itself(tmp_path: Path) -> None:
    lines = [LINES.encode(), '{"id": "3", "title": "利润"}\n'.encode("gb18030"), LINES.encode()]
    rows = read(write(tmp_path, b"".join(lines)))
    assert [row.line for row in rows if row.error] == [3]
    assert "not UTF-8; --encoding gb18030 reads it as" in (rows[2].error or "")
    assert fields(rows[:2] + rows[3:]) == ROWS * 2


def test_half_a_surrogate_pair_nan_and_control_characters_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path, b'{"title": "Marlow plunges 20% \\ud83d", "text": NaN, "a": "x\ty", "b": "\\ud83d\\ude00"}'
    )
    (row,) = read(path)
    assert row.fields is not None
    assert row.fields["title"] == "Marlow plunges 20% \ufffd"
    assert row.fields["text"] != row.fields["text"]
    assert (row.fields["a"], row.fields["b"]) == ("x\ty", "\U0001f600")


def test_plain_lines_are_texts_only_where_they_are_asked_for(tmp_path: Path) -> None:
    lists = read(write(tmp_path, b'["Shares fall"]\n[Update] Shares\0 fall\n'), plain_text=True)
    assert [row.error for row in lists] == ["expected a JSON object, not list", None]
    path = write(tmp_path, b'[Update] Acme rises\n\n{"title": "x"}\n{"title": \nlast')
    rows = read(path, plain_text=True)
    assert [row.text for row in rows] == ["[Update] Acme rises", "", "", "", "last"]
    assert rows[2].fields == {"title": "x"} and "not JSON" in (rows[3].error or "")
    assert [row.line for row in read(path) if row.error] == [1, 4, 5]


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_rows, "MAX_LINE", 1000)
    with pytest.raises(InputFileError, match=r"f\.jsonl:2: a line of more than 1,000 characters"):
        read(write(tmp_path, b"{}\n" + b"x" * 5000))
    monkeypatch.setattr(text_files, "MAX_ZSTD_BYTES", 1000)
    with pytest.raises(InputFileError, match="zstd -dc"):
        read(write(tmp_path, bytes(cramjam.zstd.compress(b"{}\n" * 5000))))


def test_a_line_of_a_pipe_is_there_as_soon_as_it_is_written() -> None:
    program = "from stream.domain.files.input_rows import read_rows; from pathlib import Path\n"
    program += "for row in read_rows(Path('-')): print(row.line, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for number in (1, 2, 3):
            process.stdin.write(b'{"id": "1"}\n')
            process.stdin.flush()
            assert process.stdout.readline() == b"%d\n" % number
        process.stdin.close()


def test_a_pipe_is_read_once_and_whole(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(gzip.compress(LINES.encode()))
    try:
        assert fields(read(Path(f"/dev/fd/{reading}"))) == ROWS
    finally:
        os.close(reading)


@pytest.mark.parametrize("shift", range(-6, 1))
@pytest.mark.parametrize("quoted", ['He said "rise"', 'a\\\\"', "\\" * 7])
def test_json_within_json_is_read_wherever_a_piece_ends(tmp_path: Path, quoted: str, shift: int) -> None:
    inner = json.dumps({"quote": quoted})
    start = len('[{"id": "1", "text": "", "raw": ') + json.dumps(inner).index("\\\\")
    filler = "x" * (input_rows.PIECE + shift - start)
    rows = [{"id": "1", "text": filler, "raw": inner}, {"id": "2", "text": "Orders rise"}]
    assert fields(read(write(tmp_path, json.dumps(rows).encode()))) == rows


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": "1"}]]\n[{"id": "2"}, {"id": "3"}]',
        '[{"id": "1"}}, {"id": "2"}, {"id": "3"}]',
        '{\n"id": "1"}]\n{"id": "2"}\n{"id": "3"}',
        '{\n"id": "1"}}\n{"id": "2"}\n{"id": "3"}',
    ],
)
def test_a_bracket_too_many_harms_no_object(tmp_path: Path, text: str) -> None:
    rows = read(write(tmp_path, text.encode()))
    assert [dict(row.fields) for row in rows if row.fields] == [{"id": "1"}, {"id": "2"}, {"id": "3"}]
    assert [row.error for row in rows if row.error] in (
        [],
        ["expected JSON objects, not '}'"],
        ["expected JSON objects, not '}, '"],
    )
