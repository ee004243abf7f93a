"""Values that must never come out again, and what came out."""

import re
from dataclasses import dataclass, field

MARKS = {
    "e-mail": "marked.person@example.invalid",
    "name": "Marked-Name-4711",
    "session token": "eyJmarked.eyJtoken.c2lnbmF0dXJl",
    "bearer token": "marked-bearer-4712",
    "webhook secret": "whsec_bWFya2Vkd2ViaG9va3NlY3JldDQ3MTM=",
    "password": "marked-password-4714",
    "ill-formed id": "marked id 4715",
}
SECRET = MARKS["webhook secret"]


@dataclass
class Outputs:
    """Everything that came out of clerksync, by where it did."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    more_marks: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, *texts: object) -> None:
        self.texts += [
            (where, text.decode(errors="replace") if isinstance(text, bytes) else str(text)) for text in texts
        ]

    def leaks(self) -> list[str]:
        """Where a mark stands, as it is or in the ways that programs write such things; by the kind of the mark."""
        return sorted(
            {
                f"{kind} in {where}: {_around(text, form)}"
                for kind, mark in (MARKS | self.more_marks).items()
                for form in _forms(mark)
                for where, text in self.texts
                if form in text
            }
        )


def _forms(mark: str) -> set[str]:
    encoded = mark.encode()
    return {
        mark,
        mark.removeprefix("whsec_"),
        encoded.hex(),
        re.sub(r"[^\w.-]", lambda odd: f"%{ord(odd[0]):02X}", mark),
    }


def _around(text: str, form: str) -> str:
    at = text.index(form)
    return text[max(0, at - 80) : at + len(form) + 40]
