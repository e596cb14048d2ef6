"""JUnit reports (the XML that CI systems read), written without pytest."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One case: ``failure`` and ``skipped`` are empty where it passed."""

    group: str
    name: str
    failure: str = ""
    skipped: str = ""
    details: str = ""


def write_junit(path: Path, suite: str, cases: Iterable[Case], seconds: float) -> None:
    """Write one suite (github.com/testmoapp/junitxml describes the common form). Raises OSError."""
    listed = list(cases)
    root = ElementTree.Element("testsuites")
    figures = {
        "name": suite,
        "tests": str(len(listed)),
        "failures": str(sum(bool(case.failure) for case in listed)),
        "errors": "0",
        "skipped": str(sum(bool(case.skipped) for case in listed)),
        "time": f"{seconds:.3f}",
    }
    parent = ElementTree.SubElement(root, "testsuite", figures)
    for case in listed:
        element = ElementTree.SubElement(parent, "testcase", {"classname": case.group, "name": case.name})
        if case.failure:
            ElementTree.SubElement(element, "failure", {"message": case.failure}).text = case.details
        elif case.skipped:
            ElementTree.SubElement(element, "skipped", {"message": case.skipped})
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
