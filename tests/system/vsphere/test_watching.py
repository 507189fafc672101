"""What changes in a vCenter is seen at the CommServe without a discovery, through the three daemons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.vcenter.vcenter import Vcenter
from tests.system.vsphere.company import Company, company

GIB = 1 << 30


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path) as made:
        yield made


def test_everything_that_rules_ask_about_is_seen_as_it_changes(site: Company, tmp_path: Path) -> None:
    with Vcenter(tmp_path / "vc1") as vcenter:
        web, old = vcenter.add_machine("web", [GIB]), vcenter.add_machine("old", [GIB])
        hypervisor = site.add(vcenter)
        site.watched(hypervisor)
        gold = site.plan("gold")
        conditions = {"tags": ["tier:gold"], "folders": ["DC1/Shop"], "attributes": {"owner": "shop*"}}
        site.rest.post("/rules", {"name": "gold", "plan_id": gold, "conditions": conditions})
        web_id = site.machines()["web"]["id"]
        discovered = site.rest.get(f"/hypervisors/{hypervisor}")["discovered_at"]

        web.rename("web2")
        site.wait("a name", lambda found: found.get("web2", {}).get("id") == web_id)
        web.put("Shop")
        site.wait("a folder", lambda found: found["web2"]["folder"] == "DC1/Shop")
        web.machine.parent.rename("Store")
        site.wait("a folder's name", lambda found: found["web2"]["folder"] == "DC1/Store")
        web.machine.parent.rename("Shop")
        site.wait("a folder's old name", lambda found: found["web2"]["folder"] == "DC1/Shop")
        web.set_custom("owner", "shop team")
        site.wait("an attribute", lambda found: found["web2"]["attributes"] == {"owner": "shop team"})
        assert site.machines()["web2"]["plan_id"] is None
        web.tag("tier:gold")
        site.wait("a tag", lambda found: found["web2"]["tags"] == ["tier:gold"])
        assert site.machines()["web2"]["plan_id"] == gold, "and with it a plan"
        web.untag("tier:gold")
        site.wait("a tag that is gone", lambda found: not found["web2"]["tags"] and found["web2"]["plan_id"] is None)
        web.power_off()
        site.wait("the power state", lambda found: found["web2"]["power_state"] == "off")
        vcenter.add_machine("db", [GIB, GIB])
        site.wait("a new machine", lambda found: found.get("db", {}).get("size_bytes") == 2 * GIB)
        old.destroy()
        site.wait("a machine that is gone", lambda found: set(found) == {"web2", "db"})

        assert site.rest.get(f"/hypervisors/{hypervisor}")["discovered_at"] == discovered, "nobody looked anew"


def test_a_watch_goes_on_when_its_session_its_collector_or_its_vsa_ends(site: Company, tmp_path: Path) -> None:
    with Vcenter(tmp_path / "vc1") as vcenter:
        web = vcenter.add_machine("web", [GIB])
        site.watched(site.add(vcenter))
        vcenter.expire_sessions()
        web.tag("one:x")
        site.wait("a tag after a session that ended", lambda found: found["web"]["tags"] == ["one:x"])
        vcenter.forget_updates()
        web.tag("two:x")
        site.wait("a tag after a collector that ended", lambda found: found["web"]["tags"] == ["one:x", "two:x"])
        site.running.kill("vsa")
        web.untag("one:x")
        site.wait("a tag after a VSA that was killed", lambda found: found["web"]["tags"] == ["two:x"])
