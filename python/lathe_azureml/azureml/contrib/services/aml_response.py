"""An answer of which the scoring script decides status and headers."""

import json


class AMLResponse:
    def __init__(self, message, status_code, response_headers=None, json_str=False, run_function_failed=False):
        self.status_code = int(status_code)
        self.headers = dict(response_headers or {})
        if message is None:
            message, json_str = {}, True
        self.set_data(json.dumps(message) if json_str else message)
        if not any(name.lower() == "content-type" for name in self.headers):
            self.headers["Content-Type"] = "application/json" if json_str else "text/html; charset=utf-8"

    def set_data(self, data):
        self._data = data.encode() if isinstance(data, str) else bytes(data)

    def get_data(self):
        return self._data

    data = property(get_data, set_data)
