"""What to think of Flower and the API."""

from __future__ import annotations

from ibutsu_server.ops.doctor.facts import PageFacts
from ibutsu_server.ops.doctor.finding import Finding, failure, ok, skipped
from ibutsu_server.ops.doctor.mends import Advice, Mends
from ibutsu_server.ops.doctor.trouble import Trouble
from ibutsu_server.ops.doctor.web import place


def flower(found: PageFacts | Trouble | None, advice: Advice) -> Finding:
    """Return whether Flower lives, and is locked."""
    check, start = "flower", advice.command(Mends.START_FLOWER)
    if found is None:
        told = "Where Flower is is not known; give it with --flower-url or FLOWER_URL."
        return skipped(check, told, "ibutsu doctor --flower-url http://HOST:5555")
    if isinstance(found, Trouble):
        return failure(check, found.sentence, "Flower does not run, or the URL is another's.", start)
    where = f"Flower at {place(found.url)}"
    if not found.alive:
        return failure(
            check, f"{where} answers its health check with {found.status}.", "It is not Flower, or ill.", start
        )
    if found.open:
        cause = "It was started without FLOWER_BASIC_AUTH: who reaches it sees, and may stop, all tasks."
        return failure(check, f"{where} lets in anybody.", cause, advice.command(Mends.LOCK_FLOWER))
    return ok(check, f"{where} answers, and asks for a login.")


def api(found: PageFacts | Trouble | None, advice: Advice) -> Finding:
    """Return whether the API lives."""
    check, start = "api", advice.command(Mends.START_API)
    if found is None:
        told = "Where the API is is not known; give it with --url or IBUTSU_PUBLIC_URL."
        return skipped(check, told, "ibutsu doctor --url http://HOST:8080")
    if isinstance(found, Trouble):
        return failure(check, found.sentence, "The backend does not run, or the URL is another's.", start)
    where = f"The API at {place(found.url)}"
    if not found.alive:
        return failure(
            check, f"{where} answers {found.status}.", "A proxy finds no backend, or it is not Ibutsu.", start
        )
    return ok(check, f"{where} answers.")
