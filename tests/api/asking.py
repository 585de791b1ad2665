"""Small XGBoost models behind endpoints, and a client that never stops asking them."""

import threading

import numpy
import requests
import xgboost
from lathe_server import wait_for

ROWS = numpy.random.default_rng(7).normal(size=(200, 5)).astype(numpy.float32)


def train(folder, seed, name="model.ubj"):
    labels = (ROWS @ numpy.arange(1, 6) + numpy.random.default_rng(seed).normal(size=200) > 0).astype(int)
    settings = {"max_depth": 3, "seed": seed, "objective": "binary:logistic", "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(ROWS, labels), num_boost_round=10)
    booster.save_model(folder / name)
    return booster


def body_of(rows):
    return {"inputs": [{"name": "input", "shape": list(rows.shape), "datatype": "FP32", "data": rows.flatten().tolist()}]}


def ask(uri, key, rows, **headers):
    return requests.post(uri, json=body_of(rows), timeout=30, headers={"Authorization": f"Bearer {key}", **headers})


def predictions(answer):
    assert answer.status_code == 200, answer.text
    return numpy.array(answer.json()["outputs"][0]["data"])


class Asking:
    """Asks for predictions all the time, in a thread, and keeps what failed."""

    def __init__(self, uri, key):
        self.uri, self.key = uri, key
        self.count, self.failed = 0, []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        self.wait_for_more(1)
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def wait_for_more(self, count):
        wanted = self.count + count
        wait_for(lambda: self.count >= wanted, 60, "more predictions")

    def _run(self):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.key}"
        while not self._end.is_set():
            try:
                answer = session.post(self.uri, json=body_of(ROWS[:2]), timeout=60)
                if answer.status_code != 200:
                    self.failed.append(answer.text)
            except requests.RequestException as error:
                self.failed.append(str(error))
            self.count += 1
