"""Asks a deployment for its predictions on the held-back rows and compares them with the library's own.

    python3 predict.py SCORING_URI heldback.json < key

SCORING_URI is what `lathe online-endpoint show` prints, the key what `get-credentials` prints, heldback.json what the
training job left in its output. Ends with 1 if a prediction differs by more than 1e-6.
"""

import json
import sys
import urllib.error
import urllib.request

SHOWN = 10
TOLERANCE = 1e-6


def infer(uri, key, rows):
    """The model's predictions, by the Open Inference Protocol."""
    body = {"inputs": [{"name": "input", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}]}
    request = urllib.request.Request(uri, json.dumps(body).encode(), {
        "Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["outputs"][0]["data"]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    uri, path = sys.argv[1:]
    with open(path) as file:
        held_back = json.load(file)
    try:
        answers = infer(uri, sys.stdin.readline().strip(), held_back["rows"])
    except urllib.error.HTTPError as error:
        sys.exit(f"{uri} answered {error.code}: {error.read().decode(errors='replace')}")
    expected, labels, classes = held_back["predictions"], held_back["labels"], held_back["classes"]
    if len(answers) != len(expected):
        sys.exit(f"{len(expected)} rows were sent and {len(answers)} predictions came back")

    print("prediction  says       truth")
    for answer, label in list(zip(answers, labels))[:SHOWN]:
        print(f"{answer:10.6f}  {classes[answer > 0.5]:9}  {classes[label]}")
    right = sum((answer > 0.5) == label for answer, label in zip(answers, labels))
    furthest = max(abs(answer - known) for answer, known in zip(answers, expected))
    print(f"{right} of {len(labels)} right; furthest from the library's own prediction: {furthest:.1e}")
    sys.exit(furthest > TOLERANCE)


if __name__ == "__main__":
    main()
