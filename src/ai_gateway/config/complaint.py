"""What a config is refused for."""

from typing import NamedTuple


class Complaint(NamedTuple):
    """What is wrong, and the path of the key it is wrong with ("" for the whole file)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message
