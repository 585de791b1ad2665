"""The Open Inference Protocol's tensors as NumPy's arrays, and a model's answer as such tensors."""

import json
import struct

from lathe_worker.trouble import BadInput

_NUMPY = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
          **{f"{kind.upper()}INT{8 * size}": f"<{kind or 'i'}{size}" for kind in ("", "u") for size in (1, 2, 4, 8)}}
_NAMES = {dtype.lstrip("<"): name for name, dtype in _NUMPY.items()}
_SIZE = struct.Struct("<I")


class CannotSay(Exception):
    """An answer of the model's that is no tensor."""


def read(head, body):
    """[(name, array)] of a request; its elements lie in `body`, one tensor after the other."""
    numpy = _numpy()
    data, at, out = bytearray(body), 0, []  # the model may write into its arrays
    for each in json.loads(head)["inputs"]:
        type_, size = each["datatype"], each["size"]
        if type_ == "BYTES":
            array = numpy.empty(0, dtype=object)
            texts = _texts(body, at, at + size)
            array = numpy.empty(len(texts), dtype=object)
            array[:] = texts
        elif type_ == "BF16":
            halves = numpy.frombuffer(data, "<u2", size // 2, at)
            array = (halves.astype("<u4") << 16).view("<f4")
        else:
            dtype = numpy.dtype(_NUMPY[type_])
            array = numpy.frombuffer(data, dtype, size // dtype.itemsize, at)
        out.append((each["name"], array.reshape(each["shape"])))
        at += size
    return out


def write(outputs):
    """(head, body) of [(name, array)]."""
    described, pieces = [], []
    for name, array in outputs:
        type_, data = _encoded(name, array)
        described.append({"name": name, "datatype": type_, "shape": list(array.shape), "size": len(data)})
        pieces.append(data)
    return json.dumps({"outputs": described}).encode(), b"".join(pieces)


def outputs_of(result, specs):
    """[(name, array)] of what a model answered: a table gives one for each column. `specs`: the signature's outputs."""
    numpy = _numpy()
    names = [each.get("name") or "predict" for each in specs]
    if hasattr(result, "columns") and hasattr(result, "iloc"):
        return [(str(name), result.iloc[:, i].to_numpy()) for i, name in enumerate(result.columns)]
    if isinstance(result, dict):
        return [(str(name), _array(each)) for name, each in result.items()]
    if isinstance(result, (list, tuple)) and result and all(isinstance(each, dict) for each in result):
        keys = dict.fromkeys(key for each in result for key in each)
        return [(str(key), _array([each.get(key) for each in result])) for key in keys]
    array = _array(result)
    if len(names) > 1 and array.ndim == 2 and array.shape[1] == len(names):
        return [(name, numpy.ascontiguousarray(array[:, i])) for i, name in enumerate(names)]
    return [(names[0] if len(names) == 1 else "output-0" if not names else "predict", array)]


def _texts(body, at, end):
    out = []
    while at < end:
        (size,) = _SIZE.unpack_from(body, at)
        at += _SIZE.size
        text = body[at:at + size]
        try:
            out.append(text.decode())
        except UnicodeDecodeError:
            out.append(text)
        at += size
    return out


def _array(value):
    numpy = _numpy()
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    elif hasattr(value, "toarray"):
        value = value.toarray()
    try:
        array = numpy.asarray(value)
    except ValueError:
        raise CannotSay("lists of different lengths") from None
    return array.reshape(1) if array.ndim == 0 else array


def _encoded(name, array):
    numpy = _numpy()
    if array.dtype.kind == "O":
        array = _of_objects(name, array)
    if array.dtype.kind in "MmU":
        array = array.astype(str).astype(object)
    if array.dtype.kind in "OS":
        texts = [each if isinstance(each, bytes) else str(each).encode() for each in array.ravel().tolist()]
        return "BYTES", b"".join(piece for text in texts for piece in (_SIZE.pack(len(text)), text))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype("<f8")
    little = array.dtype.newbyteorder("<")
    type_ = _NAMES.get(little.str.lstrip("<|").replace("b1", "?"))
    if type_ is None:
        raise CannotSay(f'"{name}" of type {array.dtype}')
    return type_, numpy.ascontiguousarray(array, dtype=little).tobytes()


def _of_objects(name, array):
    """Texts as they are; numbers as numbers, where what is absent is NaN."""
    numpy = _numpy()
    values = array.ravel().tolist()
    if all(isinstance(each, (str, bytes)) for each in values):
        return array
    if all(each is None or isinstance(each, (bool, int, float, numpy.number)) for each in values):
        absent = any(each is None for each in values)
        typed = numpy.array(values, dtype="f8" if absent else None)
        if typed.dtype.kind in "biuf":
            return typed.reshape(array.shape)
    if all(each is None or hasattr(each, "isoformat") or isinstance(each, str) for each in values):
        texts = ["" if each is None else each if isinstance(each, str) else each.isoformat() for each in values]
        out = numpy.empty(len(texts), dtype=object)
        out[:] = texts
        return out.reshape(array.shape)
    raise CannotSay(f'"{name}", which holds neither numbers nor texts')


def _numpy():
    try:
        import numpy
    except ImportError:
        raise BadInput("tensors need numpy in the deployment's environment: add it there") from None
    return numpy
