"""A hypervisor's secret goes nowhere that it was not given for."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from commserve.store.tables import sealed_secrets
from tests.commserve.jobs.test_following import SETTINGS, vcenter
from tests.commserve.office import Office

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def sealed(office: Office) -> list[bytes]:
    with office.store.reading() as connection:
        return list(connection.execute(sa.select(sealed_secrets.c.sealed)).scalars())


def changed(office: Office, key: str, agent: str, settings: dict[str, Any], **other: Any) -> Any:
    body = {"name": "vc1", "kind": "vcenter", "settings": settings, "agents": [agent], **other}
    return office.ask("PUT", f"/hypervisors/{key}", body)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "vc2.example.com"},
        {"address": "vc1.example.com:8443"},
        {"user": "somebody"},
        {"authority": PEM},
        {"fingerprint": "ab:" * 31 + "ab"},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_password_goes_to_no_other_server_user_or_certificate(office: Office, change: dict[str, str]) -> None:
    """Whoever may change a hypervisor does not know its password, and must not have it sent to a server of his own."""
    vsa = office.agent()
    key = vcenter(office, vsa)
    before = office.get(f"/hypervisors/{key}"), sealed(office)
    refused = changed(office, key, vsa, {**SETTINGS, **change})
    assert (refused.status_code, refused.json()["code"]) == (422, "commserve.secret_needed")
    assert next(iter(change)) in refused.json()["detail"]
    assert (office.get(f"/hypervisors/{key}"), sealed(office)) == before
    given = changed(office, key, vsa, {**SETTINGS, **change}, secret="another password")
    assert given.status_code == 200, given.text
    assert len(sealed(office)) == 1
    assert sealed(office) != before[1]
    again = changed(office, key, vsa, SETTINGS)
    assert again.status_code == 422, "to take it back is a change as well"


def test_what_is_about_no_server_changes_without_the_password(office: Office) -> None:
    vsa = office.agent()
    key = vcenter(office, vsa)
    before = sealed(office)
    settings = {**SETTINGS, "limits": {"calls": 3}, "nbd": {"vddk": "/opt/vddk"}}
    answer = changed(office, key, vsa, settings, concurrency=9)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["settings"], answer.json()["concurrency"]) == (settings, 9)
    assert sealed(office) == before


def test_a_new_agent_needs_the_password_again_and_one_that_left_has_none(office: Office) -> None:
    vsa, other = office.agent(), office.agent()
    key = vcenter(office, vsa)
    answer = changed(office, key, vsa, SETTINGS, agents=[vsa, other])
    assert (answer.status_code, answer.json()["code"]) == (422, "commserve.secret_needed")
    assert changed(office, key, vsa, SETTINGS, agents=[]).status_code == 200
    assert sealed(office) == []


def test_a_directory_of_images_may_move_without_a_secret(office: Office) -> None:
    key = office.hypervisor()
    body = {"name": "lab", "kind": "images", "settings": {"directory": "/elsewhere"}}
    assert office.put(f"/hypervisors/{key}", body)["settings"] == {"directory": "/elsewhere"}
