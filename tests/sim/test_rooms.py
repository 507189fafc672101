"""What stands beside SOAP: files, tags, and the way to control a simulator from outside."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sim.connected import context
from tests.sim.vcenter.vcenter import Vcenter


@pytest.fixture
def web_client(vcenter: Vcenter) -> Any:
    with httpx.Client(base_url=f"https://{vcenter.address}", verify=context(vcenter), trust_env=False) as client:
        yield client


def test_small_files_are_read_written_and_read_in_ranges(vcenter: Vcenter, web_client: Any) -> None:
    vcenter.add_machine("web", [1 << 30], firmware="efi")
    where = {"dcPath": "DC1", "dsName": "datastore1"}
    assert web_client.get("/folder/web/web.nvram", params=where).status_code == 401
    web_client.auth = (vcenter.user, vcenter.password)
    nvram = web_client.get("/folder/web/web.nvram", params=where)
    assert (nvram.status_code, len(nvram.content)) == (200, 270840)
    part = web_client.get("/folder/web/web.nvram", params=where, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, nvram.content[10:20])
    assert 'displayName = "web"' in web_client.get("/folder/web/web.vmx", params=where).text
    assert web_client.put("/folder/web/web.nvram", params=where, content=b"mine").status_code == 200
    assert web_client.get("/folder/web/web.nvram", params=where).content == b"mine"
    assert web_client.put("/folder/nowhere/x", params=where, content=b"x").status_code == 404
    assert web_client.get("/folder/web/none", params=where).status_code == 404


def test_tags_are_made_attached_and_listed(vcenter: Vcenter, web_client: Any) -> None:
    web = vcenter.add_machine("web", [1 << 30], tags=["tier:gold"])
    assert web_client.get("/api/cis/tagging/tag").status_code == 401
    login = web_client.post("/api/session", auth=(vcenter.user, vcenter.password))
    assert login.status_code == 201
    web_client.headers["vmware-api-session-id"] = login.json()
    [gold] = web_client.get("/api/cis/tagging/tag").json()
    tag = web_client.get(f"/api/cis/tagging/tag/{gold}").json()
    assert tag["name"] == "gold"
    assert web_client.get(f"/api/cis/tagging/category/{tag['category_id']}").json()["name"] == "tier"
    found = web_client.post(
        "/api/cis/tagging/tag-association?action=list-attached-objects-on-tags", json={"tag_ids": [gold]}
    )
    assert found.json() == [{"tag_id": gold, "object_ids": [{"id": web.moid, "type": "VirtualMachine"}]}]
    vcenter.expire_sessions()
    assert web_client.get("/api/cis/tagging/tag").status_code == 401


def test_a_simulator_is_controlled_from_another_process(vcenter: Vcenter, web_client: Any) -> None:
    made = web_client.post("/sim/machine", json={"name": "web", "disks": [8 << 20], "change_tracking": True})
    assert made.json()["id"] == vcenter.machine("web").moid
    web_client.post("/sim/scribble", json={"machine": "web", "count": 3, "bytes": 4096, "seed": 5}).raise_for_status()
    assert len(web_client.get("/sim/disk", params={"machine": "web"}).content) == 8 << 20
    assert vcenter.machine("web").disk(0).data().bytes() > 0
    assert web_client.post("/sim/write", json={"machine": "none", "offset": 0, "data": ""}).status_code == 400
    assert web_client.get("/sim/state").json()["machines"][0]["name"] == "web"
