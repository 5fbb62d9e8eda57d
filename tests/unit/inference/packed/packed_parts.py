"""The header and the weights of a file of packed weights, taken apart and put together again."""

import json
import struct

TERMS = "for these tests alone"


def parts(path):
    """The header, as a dict, and the bytes of the weights."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def flipped(header, body):
    """The same with one bit of the weights turned."""
    return header, body[:40] + bytes([body[40] ^ 1]) + body[41:]
