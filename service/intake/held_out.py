"""Held-out questions, and whether a row comes too near to one: what is measured on must not be learnt.

A row touches a case when a question or an answer in it repeats the case's question, by the rule of the trainer
(`service.contract.blocklist`). Only questions are compared: the facts of a good answer are what training is for.
"""

from collections.abc import Iterable

from service.contract.blocklist import Blocklist
from service.contract.sheets import Touch


class HeldOut:
    def __init__(self, paths: Iterable[str]) -> None:
        """Raises `BadRow`, or pydantic's `ValidationError`, for a file that holds no cases."""
        self._lists: list[Blocklist] = []
        for path in paths:
            with open(path, "rb") as lines:
                self._lists.append(Blocklist.read(lines))

    def __len__(self) -> int:
        return sum(len(one.questions) for one in self._lists)

    def touch(self, line: int, questions: list[str], spoken: str) -> Touch | None:
        """The first case that a row comes too near to, by what is asked in it, and by all that is said."""
        for one in self._lists:
            if (found := one.asked([*questions, spoken])) is not None:
                return Touch(line=line, case=found.name, how=found.how, share=found.share)
        return None
