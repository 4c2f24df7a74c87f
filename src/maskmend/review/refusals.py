"""What the server answers to a request that it does not fulfil."""

from __future__ import annotations

LONGEST_ECHO = 120
"""Characters of a request that an answer repeats."""


class RefusedError(Exception):
    """A request that is refused.  status: of HTTP, 4xx."""

    def __init__(self, status: int, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; got {got}. {remedy}")
        self.status = status
        self.expected = expected
        self.got = got if len(got) <= LONGEST_ECHO else got[:LONGEST_ECHO] + "…"
        self.remedy = remedy

    def to_json(self) -> dict[str, dict[str, str]]:
        return error_json(self.expected, self.got, self.remedy)


def error_json(expected: str, got: str, remedy: str) -> dict[str, dict[str, str]]:
    return {"error": {"expected": expected, "got": got, "remedy": remedy}}
