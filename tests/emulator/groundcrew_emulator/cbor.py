"""The part of CBOR (RFC 8949) that Smithy's rpc-v2-cbor protocol uses."""

import collections
import struct

# A tagged value; tag 1 is a timestamp in seconds.
Tag = collections.namedtuple("Tag", "number value")
BREAK = object()

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
INDEFINITE = 31


def encode(value):
    """Bytes of a value made of dict, list, str, bytes, int, float, bool, None and Tag."""
    out = []
    write(value, out)
    return b"".join(out)


def write_head(major, number, out):
    if number < 24:
        out.append(bytes([major << 5 | number]))
        return
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * width):
            out.append(bytes([major << 5 | info]) + number.to_bytes(width, "big"))
            return
    raise ValueError(f"{number} does not fit in 64 bits")


def write(value, out):
    if value is None:
        out.append(b"\xf6")
    elif value is True:
        out.append(b"\xf5")
    elif value is False:
        out.append(b"\xf4")
    elif isinstance(value, Tag):
        write_head(TAG, value.number, out)
        write(value.value, out)
    elif isinstance(value, int):
        write_head(UNSIGNED, value, out) if value >= 0 else write_head(NEGATIVE, -1 - value, out)
    elif isinstance(value, float):
        out.append(b"\xfb" + struct.pack(">d", value))
    elif isinstance(value, bytes):
        write_head(BYTES, len(value), out)
        out.append(value)
    elif isinstance(value, str):
        encoded = value.encode()
        write_head(TEXT, len(encoded), out)
        out.append(encoded)
    elif isinstance(value, dict):
        write_head(MAP, len(value), out)
        for key, item in value.items():
            write(key, out)
            write(item, out)
    else:
        write_head(ARRAY, len(value), out)
        for item in value:
            write(item, out)


def decode(data):
    """The one value that `data` holds. Tags are dropped: a timestamp is its number."""
    return Reader(data).read()


class Reader:
    """Reads values from the front of `data`."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("the CBOR ends in the middle of a value")
        self.at += count
        return bytes(taken)

    def read(self):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == SIMPLE:
            return self.read_simple(info)
        number = int.from_bytes(self.take(1 << (info - 24)), "big") if 24 <= info <= 27 else info
        if major == UNSIGNED:
            return number
        if major == NEGATIVE:
            return -1 - number
        if major == TAG:
            return self.read()
        count = None if info == INDEFINITE else number
        if major in (BYTES, TEXT):
            if count is None:
                return (b"" if major == BYTES else "").join(self.items(None))
            content = self.take(count)
            return content if major == BYTES else content.decode()
        if major == ARRAY:
            return list(self.items(count))
        return {key: self.read() for key in self.items(count)}

    def read_simple(self, info):
        if info == INDEFINITE:
            return BREAK
        if info in (20, 21):
            return info == 21
        formats = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
        if info in formats:
            layout, width = formats[info]
            return struct.unpack(layout, self.take(width))[0]
        return None

    def items(self, count):
        """`count` values, or all up to the break."""
        while count is None or count > 0:
            value = self.read()
            if value is BREAK:
                return
            yield value
            if count is not None:
                count -= 1
