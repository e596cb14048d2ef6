"""Everything a host is asked before a deploy, as one fact."""

from __future__ import annotations

from pyinfra.api import FactBase
from typing_extensions import override

from groundwork.preflight.questions import Answers, parse_answers


class PreflightAnswers(FactBase[Answers]):
    """Answers of a host to ``groundwork.preflight.questions.build_script``'s script, which changes nothing."""

    default = Answers

    @override
    def command(self, script: str) -> str:
        return script

    @override
    def process(self, output: list[str]) -> Answers:
        return parse_answers("\n".join(output))
