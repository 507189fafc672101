"""Somebody watches every vCenter whose machines are known, one at a time, and anew when a watch ends."""

from __future__ import annotations

import sqlalchemy as sa

from commserve.jobs.lifecycle import Failure
from commserve.store.tables import agents
from runtime.certificates import new_key, public_der
from runtime.faults import Retry
from tests.commserve.office import ABILITIES, Office, machine

SETTINGS = {"address": "vc1.example.com", "user": "backup"}


def vcenter(office: Office, agent: str) -> str:
    key = public_der(new_key().public_key())
    with office.store.writing() as connection:
        connection.execute(sa.update(agents).where(agents.c.id == agent).values(sealing_key=key))
    return office.hypervisor("vc1", kind="vcenter", settings=SETTINGS, agents=[agent], secret="a password")


def test_a_vcenter_is_watched_once_it_was_discovered(office: Office) -> None:
    vsa = office.agent()
    key = vcenter(office, vsa)
    office.look()
    assert office.jobs(kind="watch") == []
    office.discover(key, machine("web"))
    office.look()
    office.look()
    (job,) = office.jobs(kind="watch")
    assert (job.hypervisor_id, job.arguments["seconds"]) == (key, 3600)


def test_a_watch_that_ended_is_followed_by_another_and_one_that_failed_after_a_while(office: Office) -> None:
    vsa = office.agent()
    office.discover(vcenter(office, vsa), machine("web"))
    office.look()
    (job,) = [each for each in office.lease(vsa, 4) if each.kind == "watch"]
    office.report(job, "DONE", result={"changes": 0})
    office.look()
    assert len(office.jobs(kind="watch")) == 2
    (job,) = [each for each in office.lease(vsa, 4) if each.kind == "watch"]
    office.report(job, "FAILED", failure=Failure("vsa.hypervisor_refused", "no", Retry.NEVER))
    office.look()
    assert len(office.jobs(kind="watch")) == 2
    office.look(minutes=6)
    assert len(office.jobs(kind="watch")) == 3


def test_a_watch_holds_no_slot_of_its_agent(office: Office) -> None:
    """A quarter of an agent's slots stays free for what somebody waits for: of those that it has without the watch."""
    vsa = office.agent()
    office.discover(vcenter(office, vsa), machine("web"))
    office.protect(8, schedule={"cron": "30 12 * * *"})
    office.look(minutes=31)
    for job in office.lease(vsa, 99):
        if job.kind != "watch":
            office.report(job, "RETURNED")
    assert [job.kind for job in office.jobs(state="ASSIGNED")] == ["watch"]
    assert len(office.lease(vsa, 3)) == 3, "with the watch counted, one of four slots would be kept free"


def test_a_directory_of_images_is_not_watched(office: Office) -> None:
    office.discover(office.hypervisor(), machine("web"))
    office.look()
    assert office.jobs(kind="watch") == []


def test_a_vsa_of_the_release_before_is_given_only_what_it_knows(office: Office) -> None:
    old = office.agent(abilities=["backup", "discover", "restore"])
    lab = vcenter(office, old)
    office.discover(lab)
    office.look(seconds=1)
    (watch,) = office.jobs(kind="watch")
    checking = office.post(f"/hypervisors/{lab}/check")
    assert {each.kind for each in office.lease(old, 4)} <= {"discover"}
    assert office.job(watch.id).state == office.job(checking["id"]).state == "QUEUED"
    with office.store.writing() as connection:  # it is upgraded
        connection.execute(sa.update(agents).values(capabilities=ABILITIES["vsa"]))
    assert {each.kind for each in office.lease(old, 4)} >= {"watch", "check"}


def test_a_job_that_failed_at_the_only_agent_that_knows_its_kind_goes_there_again(office: Office) -> None:
    new = office.agent(name="new")
    office.agent(name="old", abilities=["discover"])
    office.discover(vcenter(office, new))
    office.look(seconds=1)
    (job,) = [each for each in office.lease(new, 4) if each.kind == "watch"]
    office.report(job, "FAILED", failure=Failure("vsa.x", "no", Retry.ELSEWHERE))
    office.look(minutes=5)
    assert job.id in {each.id for each in office.lease(new, 4)}
