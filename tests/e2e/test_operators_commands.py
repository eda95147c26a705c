"""What an operator asks of the system that `ibutsu up` runs, without telling where it is."""

from __future__ import annotations

from typing import Any


def test_the_doctor_finds_the_local_system_and_the_canary_comes_through(system: Any) -> None:
    flown = system.ibutsu("canary")
    assert (flown.returncode, flown.stderr) == (0, "")
    # Other tests' reports are broken on purpose, and make many things late.
    allowed = ("failed-imports", "waiting-imports", "queue", "cause:", "mend:")
    for _ in range(5):
        # It gives a worker two seconds to answer; one of a busy machine may need more.
        examined = system.ibutsu("doctor")
        unwell = [line for line in examined.stdout.splitlines()[:-1] if not line.startswith("\N{CHECK MARK} ")]
        unwell = [line for line in unwell if not any(word in line for word in allowed)]
        if not unwell:
            break
    assert unwell == []
    assert "1 worker answers" in examined.stdout
    assert not [secret for secret in (system.local["token"], system.local["broker_url"]) if secret in examined.stdout]
