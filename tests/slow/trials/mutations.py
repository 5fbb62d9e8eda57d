"""Valid inputs damaged at random: bytes, the headers of image files, the values of JSON."""

import copy
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_TEXTS = (
    b"\x00",
    b"\xff\xfe",
    b"\xe4",
    b'"',
    b",",
    b";",
    b"\n",
    b"\r",
    b"\xe2\x80\xa8",
    b"[" * 5000,
    b"9" * 5000,
    b"{}",
)
_VALUES = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**12, 10**400, 0.0, -0.5, 0.5, 1e-320, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "linear", "1", "\ud800", "a/../b", "gs://x/y"),
    *([], [1], [0, -1], ["a"], [[1]], {}, {"a": 1}, {"name": None}),
)


def damage_bytes(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One to four of: flipped bits, a byte set, a cut, a piece taken out, put in, repeated, or taken from `other`."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(0, len(data) + 1))
        length = int(rng.integers(1, 17))
        kind = rng.integers(0, 8)
        if kind == 0:
            for place in rng.integers(0, max(len(data), 1), 4) if data else ():
                data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[start : start + 1] = bytes([int(rng.choice([0, 1, 127, 128, 255]))])
        elif kind == 2:
            del data[start:]
        elif kind == 3:
            del data[start : start + length]
        elif kind == 4:
            data[start:start] = rng.bytes(length)
        elif kind == 5:
            data[start:start] = data[start : start + length] * int(rng.integers(1, 9))
        elif kind == 6:
            where = int(rng.integers(0, len(other) + 1))
            data[start : start + length] = other[where : where + length]
        else:
            data[start:start] = _TEXTS[rng.integers(0, len(_TEXTS))]
    return bytes(data)


def damage_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Numbers of an image's header set to others, of 1, 2 or 4 bytes; the checksums of a PNG file are made right."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        width, code = [(1, "B"), (2, "H"), (4, "I")][rng.integers(0, 3)]
        order = "<>"[rng.integers(0, 2)]
        number = int(_NUMBERS[rng.integers(0, len(_NUMBERS))]) % 256**width
        place = _place_of_number(data, rng)
        if place + width <= len(data):
            struct.pack_into(order + code, data, place, number)
    return _with_checksums(bytes(data)) if data.startswith(_SIGNATURE) else bytes(data)


def damage_values(content: Any, rng: np.random.Generator) -> Any:
    """A JSON value of which one to three fields, at any depth, are set to another value, removed or added."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.integers(1, 4)):
        holders = [holder for holder in _holders(content) if holder]
        if not holders:
            break
        holder = holders[rng.integers(0, len(holders))]
        names = list(holder) if isinstance(holder, dict) else range(len(holder))
        name = names[rng.integers(0, len(names))]
        kind = rng.integers(0, 8)
        if kind == 0:
            del holder[name]
        elif kind == 1 and isinstance(holder, dict):
            holder["unheard_of"] = _value(rng)
        elif kind == 2 and isinstance(holder[name], int | float) and abs(holder[name]) < 1e300:
            holder[name] = holder[name] * float(rng.choice([-1, 0, 0.5, 1000]))
        else:
            holder[name] = _value(rng)
    return content


def _value(rng: np.random.Generator) -> Any:
    return copy.deepcopy(_VALUES[rng.integers(0, len(_VALUES))])


def _holders(value: Any) -> list:
    """The dicts and lists of a JSON value, itself included."""
    if not isinstance(value, dict | list):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [value, *(holder for part in parts for holder in _holders(part))]


def _place_of_number(data: bytearray, rng: np.random.Generator) -> int:
    """Likely places of a number: in a TIFF file mostly in its directory, in others mostly in the first 64 bytes."""
    if data[:4] in (b"II*\0", b"MM\0*") and len(data) >= 8 and rng.random() < 0.8:
        (directory,) = struct.unpack_from("<I" if data[:1] == b"I" else ">I", data, 4)
        if directory + 2 < len(data):
            return directory + int(rng.integers(0, 2 + 12 * 16))
    return int(rng.integers(0, 64 if rng.random() < 0.7 else max(len(data), 1)))


def _with_checksums(content: bytes) -> bytes:
    """A PNG file with the checksum of each whole chunk made right, so that what is in it is looked at."""
    data, place = bytearray(content), len(_SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(data)


Damage = Callable[[bytes, bytes, np.random.Generator], bytes]
"""(a valid input, another, random numbers) -> what is read."""


def damage_picture(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`damage_header` or `damage_bytes`, or both."""
    kind = rng.integers(0, 5)
    if kind < 3:
        content = damage_header(content, rng)
    return damage_bytes(content, other, rng) if kind >= 2 else content


def damage_json(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`damage_values` of a JSON text."""
    return json.dumps(damage_values(json.loads(content), rng)).encode()


def damage_lines(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`damage_values` of JSON lines, each by itself, or `damage_bytes` of them all."""
    if rng.random() < 0.3:
        return damage_bytes(content, other, rng)
    lines = [damage_json(line, other, rng) if rng.random() < 0.5 else line for line in content.splitlines()]
    return b"\n".join(lines) + b"\n"
