"""What the rules find: errors and warnings by key path, which the loader gives their file and line."""

from __future__ import annotations

from dataclasses import dataclass, field

from swapyard.config.tree import Path

Finding = tuple[Path, str]


@dataclass(slots=True)
class Findings:
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def error(self, path: Path, rule: str) -> None:
        self.errors.append((path, rule))

    def warn(self, path: Path, rule: str) -> None:
        self.warnings.append((path, rule))
