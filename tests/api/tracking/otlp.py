"""OTLP's ExportTraceServiceRequest in protobuf, by hand: field numbers and wire types, nothing else."""

import struct


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def fixed64(field, value):
    return varint(field << 3 | 1) + struct.pack("<Q", value)


def part(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def any_value(value):
    if value is None:
        return b""
    if isinstance(value, bool):
        return number(2, int(value))
    if isinstance(value, int):
        return number(3, value)
    if isinstance(value, float):
        return varint(4 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, str):
        return part(1, value)
    if isinstance(value, list):
        return part(5, b"".join(part(1, any_value(item)) for item in value))
    return part(6, pairs(1, value))


def pairs(field, values):
    return b"".join(part(field, part(1, key) + part(2, any_value(value))) for key, value in values.items())


def span(trace_id, span_id, parent_id=None, name="work", start_ns=1_000_000_000, end_ns=1_500_000_000, status=1,
         attributes=None, events=b""):  # fmt: skip
    """One Span; ids in hex."""
    out = part(1, bytes.fromhex(trace_id)) + part(2, bytes.fromhex(span_id)) + part(5, name)
    out += fixed64(7, start_ns) + fixed64(8, end_ns)
    if parent_id:
        out += part(4, bytes.fromhex(parent_id))
    return out + pairs(9, attributes or {}) + events + part(15, number(3, status))


def request(*spans):
    return part(1, part(2, b"".join(part(2, one) for one in spans)))
