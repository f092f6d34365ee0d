"""What a user can get wrong.

Every class here becomes one line on the terminal and exit code 2: the rule, what was found, and the way out.
Mistakes of our own are `assert`s and ordinary Python exceptions, never these.
"""


class DefectSynthError(Exception):
    """Base of every error that the user can mend; its text is one line that says how."""


class DataError(DefectSynthError):
    """A folder, file, image or mask is not what was expected."""


class InvalidNameError(DataError):
    """A category, a defect or a file is called what could lead out of its folder, or what not every system can store.

    Args:
        problem: The name and what is wrong with it.
        where: The file or folder that holds the name; empty: not known here.

    Attributes:
        problem: As given.
    """

    def __init__(self, problem: str, where: object = "") -> None:
        super().__init__(f"{where}: {problem}" if str(where) else problem)
        self.problem = problem


class ConfigError(DefectSynthError):
    """A setting is out of its bounds or contradicts another one."""


class CheckpointError(DefectSynthError):
    """A checkpoint or run folder is missing, damaged or made for something else."""


class UnknownDefectError(DefectSynthError):
    """A defect was asked for that the source does not have."""

    def __init__(self, defect: str, category: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown defect {defect!r} for {category}; known: {', '.join(known) or 'none'}")


class OutputError(DefectSynthError):
    """Something could not be written: disk full, no permission, a path that is already taken."""


class MissingExtraError(DefectSynthError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'defect-synth[{extra}]'")


class ToldElsewhereError(DefectSynthError):
    """Another process of this run met the mistake and tells the user of it."""
