"""Whether this process is ready for work, and whether it is stopping."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Lifecycle:
    """Shared by all that answer requests or tell about readiness."""

    draining: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    """What keeps us from being ready, by the name of the part, in words without values."""

    @property
    def ready(self) -> bool:
        return not self.draining and not self.problems

    def report(self, part: str, problem: str | None) -> bool:
        """Notes the problem of a part, or that it has none; returns whether that is news."""
        before = self.problems.get(part)
        if problem is None:
            self.problems.pop(part, None)
        else:
            self.problems[part] = problem
        return before != problem
