"""The bytes around the JSON of a message: what serializers put before it, and what is no JSON at all.

A producer with a schema registry puts a header before the JSON.  Where JSON follows, it is read; where the
header belongs to another format, or the bytes are compressed, the dead letter names what they are.
"""

import re
import uuid

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A header of Confluent's wire format (0, a schema id of 4 bytes), of Apicurio's older one (8 bytes) or of AWS
# Glue's (3, 0 for not compressed, a UUID), a byte-order mark, and then JSON.
BEFORE_JSON = re.compile(
    rb"(?:\x00.{4}|\x00.{8}|\x03\x00.{16})?(?:\xef\xbb\xbf)?(?=[ \t\r\n]*[{\[])", re.DOTALL
)
BEFORE_ARRAY = re.compile(BEFORE_JSON.pattern.replace(rb"[{\[]", rb"\["), re.DOTALL)
FIRST_OF_OBJECT, LAST_OF_OBJECT = ord("{"), ord("}")
CONFLUENT_HEADER_BYTES, GLUE_HEADER_BYTES = 5, 18
# The first bytes of formats that are sent by mistake.
FORMATS = {
    b"\x1f\x8b": "gzip-compressed bytes",
    b"\x28\xb5\x2f\xfd": "zstd-compressed bytes",
    b"\x04\x22\x4d\x18": "lz4-compressed bytes",
    b"\x82SNAPPY\x00": "snappy-compressed bytes",
    b"\xff\x06\x00\x00sNaPpY": "snappy-compressed bytes",
    b"\x78\x01": "zlib-compressed bytes",
    b"\x78\x9c": "zlib-compressed bytes",
    b"\x78\xda": "zlib-compressed bytes",
    b"BZh": "bzip2-compressed bytes",
    b"\xfd7zXZ\x00": "xz-compressed bytes",
    b"PK\x03\x04": "a ZIP archive",
    b"Obj\x01": "an Avro file",
    b"PAR1": "a Parquet file",
    b"\xac\xed\x00\x05": "a serialized Java object",
    b"<": "XML or HTML",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"{\x00": "UTF-16 text",
    b"\x00{": "UTF-16 text",
}


def unframe(value: bytes) -> bytes:
    """The JSON of a message, without header, byte-order mark and the NULs of a fixed-length buffer."""
    if value and value[0] == FIRST_OF_OBJECT and value[-1] == LAST_OF_OBJECT:
        return value
    before = BEFORE_JSON.match(value)
    return (value[before.end() :] if before else value.removeprefix(BYTE_ORDER_MARK)).rstrip(b"\0")


def is_array(value: bytes) -> bool:
    """Whether a message holds a JSON array."""
    return value[:1] != b"{" and BEFORE_ARRAY.match(value) is not None


def name_format(value: bytes) -> str | None:
    """What a message that is not JSON is, by its first bytes; None if they belong to no known format."""
    for first, name in FORMATS.items():
        if value.startswith(first):
            return name
    if value[:1] == b"\x00" and len(value) >= CONFLUENT_HEADER_BYTES:
        return f"Confluent wire format, schema {int.from_bytes(value[1:CONFLUENT_HEADER_BYTES])}"
    if value[:1] == b"\x03" and len(value) >= GLUE_HEADER_BYTES:
        compressed = ", compressed" if value[1] else ""
        return (
            f"AWS Glue wire format, schema version {uuid.UUID(bytes=value[2:GLUE_HEADER_BYTES])}{compressed}"
        )
    return None
