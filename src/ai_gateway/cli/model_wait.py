"""What `ai-gateway models wait` makes of a gateway's answers: in place, failed, or to be asked again."""

from collections.abc import Callable
from typing import Any, Final

from ai_gateway.cli.asking import Asking, Unanswered

IN_PLACE: Final = 0
FAILED: Final = 1
ROUNDS: Final = 5  # so many in a row must tell of a failure: one may be of the config before, or of a gateway's start
LONG_ROUNDS: Final = 30  # for what another gateway may see otherwise

Verdict = tuple[int | None, str]


class Waiting:
    """Waits for one model; with `digest`, for the config with this hash at every ready gateway, too."""

    def __init__(self, asking: Asking, model: str, digest: str | None, seconds_left: Callable[[], float]) -> None:
        self._asking = asking
        self._model = model
        self._digest = digest
        self._seconds_left = seconds_left
        self._doubts = 0

    def look(self) -> Verdict:
        """The exit status, None to go on, and a sentence."""
        try:
            verdict, rounds, sentence = self._look()
        except Unanswered as failure:
            rounds = ROUNDS if failure.status in (400, 404) else 0
            verdict, sentence = FAILED if failure.status in (401, 403) else None, str(failure)
        except (OSError, ValueError) as error:  # of the file with the key
            return FAILED, str(error)
        self._doubts = self._doubts + 1 if rounds else 0
        if verdict is None and rounds and self._doubts >= rounds:
            verdict = FAILED
        return verdict, sentence

    def _get(self, path: str) -> dict[str, Any]:
        return self._asking.get(path, max(2.0, self._seconds_left()))

    def _look(self) -> tuple[int | None, int, str]:
        """As `look`, and in how many rounds in a row this must be seen to be a failure; 0: it is none."""
        if self._digest is not None:
            health = self._get("/v1/health")
            if refused := _refused(health, self._digest):
                return None, ROUNDS, refused
            if behind := _behind(health, self._digest):
                return None, 0, behind
        shown = self._get(f"/v1/models/{self._model}")
        if self._digest is not None and shown.get("config") != self._digest:
            return None, 0, "the gateway that answered does not follow the file yet"
        if shown.get("in_place") is True:
            return IN_PLACE, 0, "is in place"
        if "in_place" not in shown:
            return FAILED, 0, "the gateway is too old to tell whether a model is in place"
        if shown.get("state") == "failed":
            return None, ROUNDS, f"has failed: {shown.get('reason')}"
        if shown.get("complaint"):
            return None, LONG_ROUNDS, f"the gateway does not bring it to the endpoints: {shown['complaint']}"
        return None, 0, _sentence(shown)


def _refused(health: dict[str, Any], digest: str) -> str | None:
    config = health.get("config")
    if not isinstance(config, dict):
        raise Unanswered("/v1/health shows its details to admins alone: name an admin's key with --key-file", 403)
    if config.get("refused_hash") != digest:
        return None
    reasons = config.get("complaints") or [{}]
    return f"the config is refused: {reasons[0].get('path')}: {reasons[0].get('message')}"


def _behind(health: dict[str, Any], digest: str) -> str | None:
    """How many gateways do not follow the file yet; None: all that are ready do."""
    try:
        others = [one for one in health["gateways"]["others"] if one["state"] in ("fresh", "silent")]
        hashes = [health["config"].get("hash"), *(one["config"] if one["state"] == "fresh" else None for one in others)]
    except (LookupError, TypeError):
        raise Unanswered("what answers there is no gateway of this kind: its health cannot be read") from None
    follow = sum(one == digest for one in hashes)
    return None if follow == len(hashes) else f"{follow} of {len(hashes)} gateways follow the file"


def _sentence(shown: dict[str, Any]) -> str:
    parts = [f"is not in place yet ({shown.get('state')})"]
    if shown.get("total"):
        parts.append(f"{shown.get('done')} of {shown['total']} endpoints are done")
    progress = shown.get("progress")
    if isinstance(progress, int | float) and 0 <= progress <= 1:
        parts.append(f"{int(progress * 10) * 10} % are pulled")  # in steps, so that a log has no line each second
    if shown.get("reason"):
        parts.append(f"the last failure: {shown['reason']}")
    return ", ".join(parts)
