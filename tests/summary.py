"""Sums up what ctest and pytest ran: failures, skips with their reasons, sanitizer reports, and one last line.

usage: summary.py RESULTS_FOLDER ALLOWED_SKIPS

RESULTS_FOLDER holds ctest.xml (ctest --output-junit), gtest/*.xml, pytest-sqlite.xml and pytest-postgresql.xml
(--junitxml, by what was the store) and sanitizers/ (the reports of AddressSanitizer and UndefinedBehaviorSanitizer, a
file per process). Ends with 1 when anything failed; with
CI=true also when a test is skipped that ALLOWED_SKIPS does not name.
"""

import os
import pathlib
import sys
import xml.etree.ElementTree


class Summary:
    def __init__(self):
        self.passed = 0
        self.failed = []  # of (id, message)
        self.skipped = []  # of (id, reason)

    def add(self, test, outcome, message=""):
        if outcome == "passed":
            self.passed += 1
        else:
            getattr(self, outcome).append((test, message.strip().split("\n")[0]))


def read_xml(path):
    try:
        return xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError):
        return None


def outcome_of(case):
    """What a JUnit test case says: (outcome, message)."""
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return outcome, found.get("message") or found.text or ""
    return "passed", ""


def add_unit_tests(summary, results):
    """A program with a gtest report counts case by case; one without (it crashed, or is no gtest) counts as one."""
    programs = read_xml(results / "ctest.xml")
    if programs is None:
        summary.add("ctest", "failed", "ctest wrote no report")
        return
    for program in programs.iter("testcase"):
        name = program.get("name")
        outcome, message = outcome_of(program)
        report = read_xml(results / "gtest" / f"{name}_test.xml")
        failed_before = len(summary.failed)
        for case in report.iter("testcase") if report is not None else ():
            summary.add(f"{name}: {case.get('classname')}.{case.get('name')}", *outcome_of(case))
        if report is None or (outcome == "failed" and len(summary.failed) == failed_before):
            summary.add(name, outcome, message)


def add_api_tests(summary, results, store):
    """`store`: what the tests ran on, sqlite or postgresql."""
    report = read_xml(results / f"pytest-{store}.xml")
    if report is None:
        summary.add(f"pytest on {store}", "failed", "pytest wrote no report")
        return
    for case in report.iter("testcase"):
        file = case.get("classname").replace(".", "/") + ".py"
        beside = " on postgresql" if store == "postgresql" else ""
        summary.add(f"{file}::{case.get('name')}{beside}", *outcome_of(case))


def add_sanitizer_reports(summary, results):
    for report in sorted((results / "sanitizers").glob("*")):
        lines = report.read_text(errors="replace").splitlines()
        found = [line for line in lines if "ERROR:" in line or "runtime error:" in line]
        summary.add(f"sanitizer report {report}", "failed", found[0] if found else "not empty")


def allowed_skips(path):
    lines = (line.split(" #")[0].strip() for line in path.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def main(results, allowed):
    summary = Summary()
    add_unit_tests(summary, results)
    add_api_tests(summary, results, "sqlite")
    add_api_tests(summary, results, "postgresql")
    add_sanitizer_reports(summary, results)
    if os.environ.get("CI") == "true":
        known = allowed_skips(allowed)
        for test, reason in summary.skipped:
            if test not in known:
                summary.add(test, "failed", f"skipped, which {allowed.name} does not allow: {reason}")
        summary.skipped = [(test, reason) for test, reason in summary.skipped if test in known]

    for test, reason in summary.skipped:
        print(f"skipped: {test}: {reason}")
    for test, message in summary.failed:
        print(f"failed: {test}: {message}")
    print(f"{summary.passed} passed, {len(summary.failed)} failed, {len(summary.skipped)} skipped")
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
