"""`@rawhttp` and the request that such a run() gets: the part of Flask's request that scoring scripts use."""

import json
from urllib.parse import parse_qs, parse_qsl, unquote


class _Headers(dict):
    """Looked up whatever the case."""

    def __init__(self, pairs=()):
        super().__init__()
        for name, value in pairs:
            self[name] = f"{self[name]}, {value}" if name in self else value

    def _key(self, name):
        return next((key for key in self.keys() if key.lower() == name.lower()), name)

    def __contains__(self, name):
        return any(key.lower() == name.lower() for key in self.keys())

    def __getitem__(self, name):
        return super().__getitem__(self._key(name))

    def __setitem__(self, name, value):
        super().__setitem__(self._key(name), value)

    def get(self, name, default=None):
        return self[name] if name in self else default


class _Args(dict):
    """The first value of each name; all by getlist."""

    def __init__(self, query):
        self._all = parse_qs(query, keep_blank_values=True)
        super().__init__(reversed(parse_qsl(query, keep_blank_values=True)))

    def get(self, name, default=None, type=None):
        if name not in self:
            return default
        try:
            return type(self[name]) if type else self[name]
        except ValueError:
            return default

    def getlist(self, name):
        return self._all.get(name, [])


class AMLRequest:
    def __init__(self, method, path, query, headers, data):
        self.method, self.path, self.data = method, unquote(path), data
        self.query_string = query.encode()
        self.full_path = f"{self.path}?{query}"
        self.headers, self.args = _Headers(headers), _Args(query)
        self.content_type, self.content_length = self.headers.get("content-type"), len(data)

    @classmethod
    def _of(cls, head, data):
        return cls(head["method"], head["path"], head["query"], head["headers"], data)

    def get_data(self, cache=True, as_text=False, parse_form_data=False):
        return self.data.decode() if as_text else self.data

    @property
    def is_json(self):
        return (self.content_type or "").split(";")[0].strip().lower() == "application/json"

    def get_json(self, force=False, silent=False, cache=True):
        if not force and not self.is_json:
            if silent:
                return None
            raise ValueError("the Content-Type is not application/json")
        try:
            return json.loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    @property
    def json(self):
        return self.get_json()


def rawhttp(function):
    """Marks a run() that takes the whole request in place of its body."""
    function._lathe_rawhttp = True
    return function
