"""ONNX files written by hand: just enough protobuf for small graphs, so that the tests need no onnx package."""

import struct

# Element types of TensorProto.
FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE, UINT32, UINT64 = range(1, 14)


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def content(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def floats(name, shape, values):
    """A constant."""
    raw = struct.pack(f"<{len(values)}f", *values)
    return b"".join(number(1, size) for size in shape) + number(2, FLOAT) + content(8, name) + content(9, raw)


def integers(name, values):
    """A constant list of INT64."""
    return number(1, len(values)) + number(2, INT64) + content(8, name) + content(9, struct.pack(f"<{len(values)}q", *values))


def value_info(name, kind, shape):
    """An input or output; a text in the shape is a symbol, any size."""
    dims = b"".join(content(1, content(2, size) if isinstance(size, str) else number(1, size)) for size in shape)
    return content(1, name) + content(2, content(1, number(1, kind) + content(2, dims)))


def attribute(name, value):
    return content(1, name) + number(3, value) + number(20, 2)


def node(kind, inputs, outputs, **attributes):
    body = b"".join(content(1, name) for name in inputs) + b"".join(content(2, name) for name in outputs)
    body += content(4, kind)
    return body + b"".join(content(5, attribute(name, value)) for name, value in attributes.items())


def write_model(path, nodes, inputs, outputs, constants=()):
    graph = b"".join(content(1, each) for each in nodes) + content(2, "graph")
    graph += b"".join(content(5, each) for each in constants)
    graph += b"".join(content(11, each) for each in inputs) + b"".join(content(12, each) for each in outputs)
    model = number(1, 8) + content(2, "tests") + content(7, graph) + content(8, content(1, "") + number(2, 15))
    path.write_bytes(model)
    return path


def linear(path, weights=(1.0, 2.0, 3.0), bias=0.5):
    """y[N,1] = x[N,3] W + b"""
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    return write_model(path, nodes, [value_info("x", FLOAT, ["N", 3])], [value_info("y", FLOAT, ["N", 1])],
                       [floats("w", [3, 1], weights), floats("b", [1], [bias])])  # fmt: skip


def identity(path, kind):
    """y = x, of any type."""
    return write_model(path, [node("Identity", ["x"], ["y"])], [value_info("x", kind, ["N", 2])],
                       [value_info("y", kind, ["N", 2])])  # fmt: skip


def two_columns(path):
    """sum = a + b and difference = a - b, for columns a[N,1] and b[N,1]"""
    nodes = [node("Add", ["a", "b"], ["sum"]), node("Sub", ["a", "b"], ["difference"])]
    columns = [value_info(name, FLOAT, ["N", 1]) for name in ("a", "b")]
    return write_model(path, nodes, columns, [value_info(name, FLOAT, ["N", 1]) for name in ("sum", "difference")])


def slow(path, size=400, steps=12):
    """y[1] of x[1,1], after `steps` products of large matrices: tens of milliseconds."""
    nodes = [node("Mul", ["x", "w"], ["m0"])]
    nodes += [node("MatMul", [f"m{i}", "w"], [f"m{i + 1}"]) for i in range(steps)]
    nodes.append(node("ReduceMean", [f"m{steps}"], ["y"], keepdims=0))
    return write_model(path, nodes, [value_info("x", FLOAT, [1, 1])], [value_info("y", FLOAT, [])],
                       [floats("w", [size, size], [1.0 / size] * (size * size))])  # fmt: skip


def gather(path):
    """y = table[x]: refuses indexes out of range when it runs."""
    return write_model(path, [node("Gather", ["table", "x"], ["y"])], [value_info("x", INT64, ["N"])],
                       [value_info("y", FLOAT, ["N"])], [floats("table", [4], [10, 11, 12, 13])])  # fmt: skip
