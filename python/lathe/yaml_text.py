"""The YAML of model folders, without PyYAML: writes it, and reads what PyYAML's safe_dump and we write.

Read are block mappings and lists, plain and quoted scalars (folded over lines too) and JSON on one line. Anchors, tags
and block scalars are refused by name rather than misread.
"""

import json
import re

_INTEGER = re.compile(r"[-+]?(0|[1-9][\d_]*)")
_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]\d+)?")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}


def dump(value, indent=""):
    """Dicts and lists as blocks with sorted keys; every other value as JSON, which YAML reads too."""
    lines = []
    for key, item in sorted(value.items()) if isinstance(value, dict) else enumerate(value):
        if isinstance(value, dict):
            start = f"{indent}{key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS else _json(key)}:"
        else:
            start = f"{indent}-"
        if isinstance(item, (dict, list)) and item:
            lines.append(f"{start}\n{dump(item, indent + '  ')}")
        else:
            lines.append(f"{start} {_json(item)}\n")
    return "".join(lines)


def _json(value):
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))


def load(text):
    """The document's value. Raises ValueError with the line that is beyond us."""
    lines = [(number, line.rstrip(" \r")) for number, line in enumerate(text.split("\n"), 1)
             if not line.startswith(("---", "%"))]
    reader = _Reader(lines)
    value = reader.block(-1)
    if reader.peek() is not None:
        raise reader.problem("it does not belong to what is above it")
    return value


class _Reader:
    def __init__(self, lines):
        self._lines, self._at = lines, 0

    def peek(self):
        """(indentation, text) of the next line that says something, or None."""
        while self._at < len(self._lines) and self._lines[self._at][1].lstrip(" ")[:1] in ("", "#"):
            self._at += 1
        if self._at == len(self._lines):
            return None
        line = self._lines[self._at][1]
        text = line.lstrip(" ")
        return len(line) - len(text), text

    def problem(self, why):
        number, line = self._lines[min(self._at, len(self._lines) - 1)]
        return ValueError(f"line {number} of the YAML, {line.strip()!r}: {why}")

    def block(self, outside, list_too=False):
        """The mapping or list that is indented deeper than `outside` (a list may stand as deep as its key)."""
        found = self.peek()
        if found is None:
            return None
        indent, text = found
        is_item = text == "-" or text.startswith("- ")
        if indent < outside or (indent == outside and not (is_item and list_too)):
            return None
        if is_item:
            return self._list(indent)
        if text.startswith("? "):
            raise self.problem("a key and a colon were expected on one line")
        if _split_key(text) is None:
            return self._scalar(text, indent - 1)
        return self._mapping(indent)

    def _list(self, indent):
        items = []
        while (found := self.peek()) and found[0] == indent and (found[1] == "-" or found[1].startswith("- ")):
            rest = found[1][1:].lstrip(" ")
            if not rest:
                self._at += 1
                items.append(self.block(indent))
            elif rest.startswith(("- ", "? ")) or rest == "-" or _split_key(rest):
                # "- key: value" and "- - value" begin a block in the middle of their line.
                number, line = self._lines[self._at]
                self._lines[self._at] = (number, " " * (len(line) - len(rest)) + rest)
                items.append(self.block(indent))
            else:
                items.append(self._scalar(rest, indent))
        return items

    def _mapping(self, indent):
        out = {}
        while (found := self.peek()) and found[0] == indent:
            parts = None if found[1].startswith("? ") else _split_key(found[1])
            if parts is None:
                raise self.problem("a key and a colon were expected")
            key, rest = parts
            if rest:
                out[key] = self._scalar(rest, indent)
            else:
                self._at += 1
                out[key] = self.block(indent, list_too=True)
        return out

    def _scalar(self, text, indent):
        """A value that begins with `text`; lines indented deeper than `indent` go on with it."""
        if text[0] in "&*!|>@`%":
            raise self.problem(f"values that begin with {text[0]!r} are not read")
        if text[0] in "\"'":
            return self._quoted(text)
        self._at += 1
        if text[0] in "[{":
            try:
                return json.loads(text)
            except ValueError:
                self._at -= 1
                raise self.problem("a list or mapping on one line is read as JSON only") from None
        text = text.split(" #", 1)[0].rstrip()
        while (found := self.peek()) and found[0] > indent:
            text += " " + found[1]
            self._at += 1
        return _plain(text)

    def _quoted(self, text):
        """Gathers lines up to the closing quote. A line's end is a space; n empty lines are n newlines."""
        quote, start, empty = text[0], self._at, 0
        whole = text
        while not _closed(whole, quote):
            self._at += 1
            if self._at == len(self._lines):
                self._at = start
                raise self.problem("the quote is not closed")
            more = self._lines[self._at][1].strip()
            if not more:
                empty += 1
                continue
            if quote == '"' and _ends_escaped(whole):
                whole = whole[:-1] + more.removeprefix("\\" if more.startswith("\\ ") else "")
            else:
                whole += ("\n" * empty if empty else " ") + more
            empty = 0
        self._at += 1
        body = whole.rstrip()[1:-1]
        return body.replace("''", "'") if quote == "'" else _unescape(body)


def _closed(text, quote):
    text = text.rstrip()
    if quote == "'":
        return len(text) > 1 and (len(text) - len(text.rstrip("'"))) % 2 == (0 if set(text) == {"'"} else 1)
    return len(text) > 1 and text.endswith('"') and not _ends_escaped(text[:-1])


def _ends_escaped(text):
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
            "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}


def _unescape(text):
    def replace(match):
        code = match.group(1)
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)

    plain = re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", replace, text, flags=re.DOTALL)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # JSON's pairs for one character


def _split_key(text):
    """(key, what follows its colon), or None where there is no key."""
    if text[0] in "\"'":
        quoted = re.match(r"\"((?:[^\"\\]|\\.)*)\":(?: +(.*))?$|'((?:[^']|'')*)':(?: +(.*))?$", text)
        if not quoted:
            return None
        double, after, single, behind = quoted.groups()
        return (_unescape(double), after or "") if double is not None else (single.replace("''", "'"), behind or "")
    match = re.match(r"([^\s#\[{\"'](?:[^#]|(?<!\s)#)*?):(?: +(.*))?$", text)
    return (match.group(1), match.group(2) or "") if match else None


def _plain(text):
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    special = {".nan": "nan", ".inf": "inf", "-.inf": "-inf"}.get(text.lower())
    return float(special) if special else text
