"""The agents' service over real gRPC with mutual TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commserve.agents.assignments import TICKET_LIFE
from commserve.faults import AgentRefused, RequestInvalid
from commserve.moments import text_of
from proto import agents_pb2
from proto.channels import COMMSERVE_NAME
from proto.faults import PeerUnreachable
from proto.sealing import unseal
from proto.tickets import TicketRefused, verify
from runtime.certificates import Identity, key_pem, new_key, signing_request
from tests.commserve.agents.wire import Wire
from tests.commserve.office import Office
from tests.commserve.office import machine as discovered
from tests.proto.authority import Authority as OtherAuthority


@pytest.fixture
def wire(office: Office, tmp_path: Path) -> Iterator[Wire]:
    office.clock.moment = datetime.now(UTC)  # certificates are looked at by OpenSSL, which has a clock of its own
    made = Wire(office, tmp_path)
    yield made
    made.close()


def machine(name: str) -> agents_pb2.Machine:
    disk = agents_pb2.DiskSeen(key="0", name="disk", size=1 << 20)
    return agents_pb2.Machine(id=f"id-{name}", name=name, disks=[disk], protectable=True)


def lease(line: object, slots: int = 9) -> list[agents_pb2.Assignment]:
    request = agents_pb2.LeaseRequest(boot_id="boot", free_slots=slots, wait_seconds=0)
    return list(line.lease(request).assignments)  # type: ignore[attr-defined]


def report(line: object, of: agents_pb2.Assignment, state: str, **other: object) -> agents_pb2.ReportReply:
    value = agents_pb2.ReportRequest.State.Value(state)
    request = agents_pb2.ReportRequest(assignment=of.id, fence=of.fence, state=value, **other)  # type: ignore[arg-type]
    return line.report(request)  # type: ignore[attr-defined,no-any-return]


def test_from_an_empty_commserve_to_a_recovery_point(wire: Wire) -> None:
    """Join, register, make a pool, discover, back up, restore: every message that takes part."""
    office = wire.office
    vsa, vsa_agent = wire.join("vsa", "v")
    media, media_agent = wire.join("mediaagent", "m")
    vsa.register(vsa_agent.about())
    registered = media.register(media_agent.about(addresses=["local=127.0.0.1:1:2"]))
    pool = office.post("/pools", {"name": "main", "url": "file:///p", "agents": [media_agent.caller.id]})
    (making,) = lease(media)
    assert (making.create_pool.name, making.create_pool.url, making.create_pool.encrypted) == (
        "main",
        "file:///p",
        True,
    )
    report(media, making, "DONE", result=json.dumps({"pool": "0b3f"}))
    assert office.get(f"/pools/{pool['id']}")["state"] == "ready"

    office.hypervisor(agents=[vsa_agent.caller.id])
    office.look()
    (looking,) = lease(vsa)
    assert json.loads(looking.discover.hypervisor.settings) == {"directory": "/srv/images"}
    of = {"assignment": looking.id, "fence": looking.fence}
    pages = [
        agents_pb2.MachinesPage(**of, machines=[machine("web")]),
        agents_pb2.MachinesPage(**of, machines=[machine("db")], last=True),
    ]
    assert vsa.discovered(pages) == 2
    report(vsa, looking, "DONE", result='{"machines": 2}')

    plan = office.plan(pool_id=pool["id"], schedule={"cron": ""}, level=3)
    office.rule("webs", plan, names=["web"])
    office.post(f"/plans/{plan}/run")
    office.clock.pass_(seconds=1)
    (backup,) = lease(vsa)
    wanted = backup.backup
    assert (wanted.machine.id, wanted.pool.id, wanted.level, wanted.parent) == ("id-web", "0b3f", 3, "auto")
    assert [(each.id, list(each.addresses)) for each in wanted.media_agents] == [
        (media_agent.caller.id, ["local=127.0.0.1:1:2"])
    ]
    ticket = verify(backup.ticket, registered.ticket_key)
    ticket.require(vsa_agent.caller, "backup", "0b3f", office.clock.moment.timestamp())
    with pytest.raises(TicketRefused):
        ticket.require(vsa_agent.caller, "expire", "0b3f", office.clock.moment.timestamp())
    with pytest.raises(TicketRefused):
        ticket.require(media_agent.caller, "backup", "0b3f", office.clock.moment.timestamp())
    later = office.clock.moment + timedelta(days=1, seconds=1)
    with pytest.raises(TicketRefused):
        ticket.require(vsa_agent.caller, "backup", "0b3f", later.timestamp())

    progress = agents_pb2.Progress(phase="backup", done_bytes=5, total_bytes=10)
    assert report(vsa, backup, "RUNNING", progress=progress).answer == agents_pb2.ReportReply.GO_ON
    assert report(vsa, backup, "COMMITTING", sid=0x1A).answer == agents_pb2.ReportReply.GO_ON
    made = {"recovery_point": "000000001a", "time": "2026-03-02T13:00:07.000000Z", "parent": None}
    report(vsa, backup, "DONE", result=json.dumps(made))
    assert report(vsa, backup, "DONE", result=json.dumps(made)).answer == agents_pb2.ReportReply.STALE
    (point,) = office.get("/points?machine_id=id-web")["items"]

    office.post("/restores", {"pool_id": pool["id"], "point": point["id"], "directory": "/restored/web"})
    office.clock.pass_(seconds=1)
    (restore,) = lease(vsa)
    assert (restore.restore.point, restore.restore.directory) == ("000000001a", "/restored/web")
    assert verify(restore.ticket, registered.ticket_key).points == ("000000001a",)
    report(vsa, restore, "FAILED", fault={"code": "vsa.landing_refused", "message": "no", "retry": "never"})
    (job,) = [job for job in office.all_pages("/jobs") if job["kind"] == "restore"]
    assert (job["state"], job["fault"]["code"]) == ("FAILED", "vsa.landing_refused")

    (hypervisor,) = office.all_pages("/hypervisors")
    target = {"hypervisor_id": hypervisor["id"], "name": "web2", "datastores": {"": "fast"}, "power_on": True}
    target["policies"] = {"Gold": ""}
    office.post("/restores", {"pool_id": pool["id"], "point": point["id"], "machine": target})
    office.clock.pass_(seconds=1)
    (restore,) = lease(vsa)
    into = restore.restore.machine
    assert restore.restore.WhichOneof("target") == "machine"
    assert dict(into.policies) == {"Gold": ""}
    assert (into.how, into.name, dict(into.datastores)) == (agents_pb2.MachineTarget.NEW, "web2", {"": "fast"})
    assert (into.hypervisor.name, into.power_on, into.keep_identity) == (hypervisor["name"], True, False)


def test_a_ticket_is_made_again_after_half_its_life_for_whoever_holds_the_job(wire: Wire) -> None:
    office, half = wire.office, int(TICKET_LIFE.total_seconds()) // 2
    (line, agent), (other, another) = wire.join("vsa", "v"), wire.join("vsa", "w")
    key = office.services.authority.ticket_public_key
    line.register(agent.about())
    other.register(another.about())
    office.post(f"/plans/{office.protect(4, schedule={'cron': ''})}/run")
    office.clock.pass_(seconds=1)
    held = lease(line, 4)
    done, cancelled, lost, kept = held

    assert report(line, kept, "RUNNING", ticket_seconds=half - 1).ticket == ""
    office.clock.pass_(seconds=half)
    text = report(line, kept, "RUNNING", ticket_seconds=half).ticket
    first, again = verify(kept.ticket, key), verify(text, key)
    assert again == replace(first, expires_at=first.expires_at + half)
    assert again.agent == agent.caller.uri
    assert report(line, kept, "COMMITTING", sid=5, ticket_seconds=half).ticket != ""

    assert report(line, done, "DONE", ticket_seconds=half).ticket == ""
    assert report(line, done, "RUNNING", ticket_seconds=half).ticket == ""
    office.post(f"/jobs/{cancelled.job}/cancel")
    asked = report(line, cancelled, "RUNNING", ticket_seconds=half)
    assert (asked.answer, asked.ticket) == (agents_pb2.ReportReply.CANCEL, "")
    office.look(minutes=2)
    (moved,) = [each for each in lease(other) if each.job == lost.job]
    zombie = report(line, lost, "RUNNING", ticket_seconds=half)
    assert (zombie.answer, zombie.ticket) == (agents_pb2.ReportReply.STALE, "")
    assert report(line, moved, "RUNNING", ticket_seconds=half).ticket == "", "it is not that agent's"
    assert report(other, moved, "RUNNING", ticket_seconds=half).ticket != ""


def test_the_catalog_is_read_back_from_a_pool(wire: Wire) -> None:
    office = wire.office
    media, agent = wire.join("mediaagent", "m")
    seen = agents_pb2.PoolSeen(id="0b3f", name="main", url="file:///p")
    media.register(agent.about(pools=[seen]))
    media.register(agent.about(pools=[seen]))
    (pool,) = office.all_pages("/pools")
    assert (pool["name"], pool["state"], pool["repository_id"], pool["agents"]) == (
        "main",
        "ready",
        "0b3f",
        [agent.caller.id],
    )
    office.look()
    (reading,) = lease(media)
    assert reading.read_points.pool.id == "0b3f"
    of = {"assignment": reading.id, "fence": reading.fence, "pool": "0b3f"}
    found = agents_pb2.PointSeen(id="0000000001", machine_id="gone", machine_name="g", time="2026-01-01T00:00:00Z")
    with pytest.raises(RequestInvalid, match="last page"):
        media.points_read([agents_pb2.PointsPage(**of, points=[found])])
    assert office.all_pages("/points") == []
    assert media.points_read([agents_pb2.PointsPage(**of, points=[found], last=True)]) == 1
    assert [point["machine_id"] for point in office.all_pages("/points")] == ["gone"]


def test_a_vcenter_is_watched_and_checked_by_the_agent_that_has_its_password(wire: Wire) -> None:
    """Both assignments over the wire, what a watch tells of, and how both end."""
    office = wire.office
    vsa, agent = wire.join("vsa", "v")
    other, _ = wire.join("vsa", "w")
    vsa.register(agent.about())
    settings = {"address": "vc1.example.com", "user": "backup"}
    body = {"name": "vc1", "kind": "vcenter", "settings": settings, "agents": [agent.caller.id], "secret": "a password"}
    key = office.post("/hypervisors", body)["id"]
    office.discover(key, discovered("old"))
    office.look()
    assert lease(other) == []
    asked = office.post(f"/hypervisors/{key}/check")
    by_kind = {each.WhichOneof("work"): each for each in lease(vsa)}
    assert {"watch", "check"} <= set(by_kind)
    for each in (by_kind["watch"].watch, by_kind["check"].check):
        told = each.hypervisor
        assert (told.id, told.name, told.kind, json.loads(told.settings)) == (key, "vc1", "vcenter", settings)
        opened = unseal(told.sealed_secret, agent.sealing_key, f"hypervisor:{key}", agent.caller.uri)
        assert opened == b"a password"
    watch, check = by_kind["watch"], by_kind["check"]
    assert watch.watch.seconds == 3600
    for each, operation in ((watch, "watch"), (check, "check")):
        assert verify(each.ticket, office.services.authority.ticket_public_key).operations == (operation,)

    of = {"assignment": watch.id, "fence": watch.fence}
    vsa.changed(agents_pb2.MachinesChanged(**of, machines=[machine("web")], gone=["id-old"]))
    assert [(each["name"], each["gone_at"] is None) for each in office.all_pages("/machines?gone=true")] == [
        ("old", False),
        ("web", True),
    ]
    with pytest.raises(RequestInvalid, match="not one of this agent that is a watch"):
        vsa.changed(agents_pb2.MachinesChanged(assignment=check.id, fence=check.fence, gone=["id-web"]))
    missing = [{"privilege": "Datastore.Browse", "for": "reading", "on": ["ds1"], "objects": 1, "of": 2}]
    result = json.dumps({"reached": "vc1.example.com", "missing": missing})
    report(vsa, check, "DONE", result=result, warnings=["privilege Datastore.Browse is missing"])
    ended = office.get(f"/jobs/{asked['id']}")
    assert (ended["state"], ended["result"]["missing"]) == ("DONE_WITH_WARNINGS", missing)
    report(vsa, watch, "DONE", result=json.dumps({"changes": 1}))
    assert [job.state for job in office.jobs(kind="watch")] == ["DONE"]


def test_half_a_discovery_takes_no_machine_away(wire: Wire) -> None:
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    wire.office.hypervisor()
    wire.office.look()
    (looking,) = lease(vsa)
    with pytest.raises(RequestInvalid, match="last page"):
        vsa.discovered([agents_pb2.MachinesPage(assignment=looking.id, fence=looking.fence, machines=[machine("a")])])
    with pytest.raises(RequestInvalid, match="not one of this agent"):
        vsa.discovered([agents_pb2.MachinesPage(assignment=looking.id, fence=looking.fence + 1, last=True)])
    assert wire.office.all_pages("/machines") == []


def test_what_a_dead_lease_left_is_told_by_a_discovery_and_cleaned_by_a_job(wire: Wire) -> None:
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    plan = wire.office.protect(1, schedule={"cron": ""})
    wire.office.post(f"/plans/{plan}/run")
    (dead,) = lease(vsa)
    report(vsa, dead, "DONE")
    wire.office.post(f"/hypervisors/{dead.backup.hypervisor.id}/discover")
    wire.office.clock.pass_(seconds=1)
    (looking,) = lease(vsa)
    assert looking.discover.site == wire.office.services.authority.site
    snapshots = [
        agents_pb2.SnapshotSeen(job=dead.job, fence=dead.fence, taken_at="2026-01-01T00:00:00Z"),
        agents_pb2.SnapshotSeen(job="unknown", fence=1, taken_at="2026-01-01T00:00:00Z"),
    ]
    web = machine("web")
    for left in (snapshots, snapshots[:1]):
        web.leftovers.CopyFrom(agents_pb2.Leftovers(snapshots=left))
        page = agents_pb2.MachinesPage(assignment=looking.id, fence=looking.fence, machines=[web], last=True)
        assert vsa.discovered([page]) == 1
        wire.office.look()
    warnings = wire.office.job(looking.job).warnings
    assert any("lease 1 is left, and that lease is not known here" in each for each in warnings)
    wire.office.clock.pass_(seconds=1)
    (clean,) = lease(vsa)
    assert (clean.clean.machine.id, clean.clean.site) == ("id-web", wire.office.services.authority.site)
    assert clean.clean.hypervisor.id == dead.backup.hypervisor.id
    assert clean.clean.half_made_by == ""


def test_a_secret_reaches_the_agents_that_it_is_for_and_nobody_else(wire: Wire, tmp_path: Path) -> None:
    office = wire.office
    (vsa, agent), (_, other) = wire.join("vsa", "v"), wire.join("vsa", "w")
    vsa.register(agent.about())
    body = {"name": "lab", "kind": "images", "settings": {"directory": "/x"}, "agents": [agent.caller.id]}
    made = office.post("/hypervisors", {**body, "secret": "correct horse battery"})
    assert "secret" not in made
    office.look()
    (looking,) = lease(vsa)
    sealed = looking.discover.hypervisor.sealed_secret
    owner = f"hypervisor:{made['id']}"
    assert unseal(sealed, agent.sealing_key, owner, agent.caller.uri) == b"correct horse battery"
    office.store.engine.dispose()
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"correct horse" not in everything
    more = {**body, "agents": [agent.caller.id, other.caller.id]}
    answer = office.ask("PUT", f"/hypervisors/{made['id']}", more)
    assert (answer.status_code, answer.json()["code"]) == (422, "commserve.secret_needed")
    office.put(f"/hypervisors/{made['id']}", body)  # without a secret the one that is sealed stays
    office.post(f"/agents/{agent.caller.id}/revoke")
    with office.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sealed_secrets").scalar() == 0


def test_credentials_of_a_pool_are_sealed_to_its_media_agents_and_replaced_at_those_that_are_left(wire: Wire) -> None:
    office = wire.office
    (one, first), (two, second) = wire.join("mediaagent", "m1"), wire.join("mediaagent", "m2")
    one.register(first.about())
    two.register(second.about())
    ids = [first.caller.id, second.caller.id]
    secret = {"access_key_id": "key", "secret_access_key": "correct horse battery"}
    body = {"name": "cloud", "url": "s3://bucket/vms", "agents": ids, "secret": secret}
    refused = office.ask("POST", "/pools", body | {"url": "file:///backup"})
    assert (refused.status_code, "s3://" in refused.json()["detail"]) == (422, True)
    assert "battery" not in office.ask("POST", "/pools", body | {"secret": secret | {"more": "battery"}}).text
    pool = office.post("/pools", body)
    assert "secret" not in pool
    owner = f"pool:{pool['id']}"
    (made,), (kept,) = lease(one), lease(two)
    assert (made.create_pool.pool, kept.keep_secret.pool, kept.keep_secret.url) == (pool["id"], pool["id"], body["url"])
    opened = unseal(made.create_pool.sealed_secret, first.sealing_key, owner, first.caller.uri)
    assert json.loads(opened) == secret
    assert json.loads(unseal(kept.keep_secret.sealed_secret, second.sealing_key, owner, second.caller.uri)) == secret
    office.post(f"/agents/{second.caller.id}/revoke")
    newer = secret | {"session_token": "for a while"}
    office.put(f"/pools/{pool['id']}/secret", {"secret": newer})
    office.clock.pass_(seconds=1)
    (replaced,) = lease(one)
    opened = unseal(replaced.keep_secret.sealed_secret, first.sealing_key, owner, first.caller.uri)
    assert json.loads(opened) == newer
    with office.store.reading() as connection:
        holders = connection.exec_driver_sql("SELECT agent_id FROM sealed_secrets").scalars().all()
    assert holders == [first.caller.id]


def test_a_revoked_agent_is_refused_and_the_others_hear_of_it(wire: Wire) -> None:
    office = wire.office
    bad, bad_agent = wire.join("vsa", "bad")
    good, good_agent = wire.join("mediaagent", "good")
    bad.register(bad_agent.about())
    known = good.register(good_agent.about()).deny_list
    office.post(f"/agents/{bad_agent.caller.id}/revoke")
    for call in (
        lambda: bad.register(bad_agent.about()),
        lambda: bad.heartbeat(agents_pb2.HeartbeatRequest()),
        lambda: lease(bad),
        lambda: bad.renew(signing_request(new_key(), "bad")),
        lambda: bad.report(agents_pb2.ReportRequest(assignment="x", state=agents_pb2.ReportRequest.DONE)),
        lambda: bad.discovered([agents_pb2.MachinesPage(last=True)]),
    ):
        with pytest.raises(AgentRefused, match="revoked"):
            call()
    reply = good.heartbeat(agents_pb2.HeartbeatRequest(deny_list_version=known.version))
    assert list(reply.deny_list.agents) == [bad_agent.caller.id]
    again = good.heartbeat(agents_pb2.HeartbeatRequest(deny_list_version=reply.deny_list.version))
    assert not again.HasField("deny_list")


def test_a_certificate_of_another_authority_gets_no_connection(wire: Wire) -> None:
    _, agent = wire.join("vsa", "v")
    stranger = OtherAuthority().agent("vsa", agent.caller.id)
    trusting = type(stranger)(stranger.key, stranger.chain, agent.identity.authority)
    with pytest.raises(PeerUnreachable):
        wire.line(trusting).register(agent.about())


def test_a_certificate_that_is_over_gets_no_connection(wire: Wire) -> None:
    office = wire.office
    office.clock.moment -= timedelta(days=91)
    line, agent = wire.join("vsa", "v")
    with pytest.raises(PeerUnreachable):
        line.register(agent.about())


def test_an_agent_does_not_talk_to_a_commserve_of_another_authority(wire: Wire) -> None:
    _, agent = wire.join("vsa", "v")
    misled = type(agent.identity)(agent.identity.key, agent.identity.chain, OtherAuthority().pem)
    with pytest.raises(PeerUnreachable):
        wire.line(misled).register(agent.about())


def test_a_certificate_of_ours_that_names_no_agent_is_refused(wire: Wire) -> None:
    """An agent that was forgotten, or one whose role another has."""
    _, agent = wire.join("vsa", "v")
    authority, now = wire.office.services.authority, wire.office.clock.moment
    key = new_key()
    for caller in (type(agent.caller)("vsa", "abcdef"), type(agent.caller)("mediaagent", agent.caller.id)):
        chain, _ = authority.certify(caller, signing_request(key, "x"), now)
        identity = type(agent.identity)(key_pem(key), chain, authority.pem)
        with pytest.raises(AgentRefused, match="no agent of ours"):
            wire.line(identity).register(agent.about())


def test_a_renewed_certificate_lets_in_under_the_same_name(wire: Wire) -> None:
    line, agent = wire.join("vsa", "v")
    line.register(agent.about())
    key = new_key()
    reply = line.renew(signing_request(key, "anything"))
    identity = Identity(key_pem(key), reply.certificate, reply.authority)
    assert identity.uri == agent.caller.uri
    wire.line(identity).register(agent.about())


def test_a_heartbeat_says_how_the_agent_is(wire: Wire) -> None:
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    shown = wire.office.get(f"/agents/{agent.caller.id}")
    assert (shown["clock_ahead_ms"], shown["troubles"]) == (None, [])
    late = text_of(wire.office.clock.moment - timedelta(seconds=45))
    vsa.heartbeat(agents_pb2.HeartbeatRequest(time=late, troubles=["x" * 5000] * 20))
    shown = wire.office.get(f"/agents/{agent.caller.id}")
    assert shown["clock_ahead_ms"] == -45_000
    assert (len(shown["troubles"]), max(map(len, shown["troubles"]))) == (10, 1000), "however much it says"
    vsa.heartbeat(agents_pb2.HeartbeatRequest())
    assert wire.office.get(f"/agents/{agent.caller.id}")["troubles"] == []
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        with pytest.raises(RequestInvalid, match="time"):
            vsa.heartbeat(agents_pb2.HeartbeatRequest(time=wrong))


def test_a_limit_is_divided_at_every_heartbeat(wire: Wire) -> None:
    office = wire.office
    plan = office.protect(3, schedule={"cron": ""}, limits={"bandwidth": [{"bytes_per_second": 9000}]})
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    office.post(f"/plans/{plan}/run")
    held = lease(vsa, 3)
    assert [each.backup.bytes_per_second for each in held] == [3000] * 3
    report(vsa, held[0], "DONE")
    named = [agents_pb2.Held(assignment=each.id, fence=each.fence) for each in held]
    reply = vsa.heartbeat(agents_pb2.HeartbeatRequest(held=named))
    assert list(reply.stop) == [held[0].id]
    assert {rate.assignment: rate.bytes_per_second for rate in reply.rates} == {each.id: 4500 for each in held[1:]}


def test_a_lease_is_surely_over_once_whoever_lost_it_must_have_stopped(wire: Wire) -> None:
    office = wire.office
    plan = office.protect(1, schedule={"cron": ""}, hold={"quiesce": "crash", "exclude_disks": ["Hard disk 2"]})
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    office.post(f"/plans/{plan}/run")
    (held,) = lease(vsa, 1)
    hold = held.backup.hold
    assert (hold.quiesce, list(hold.excluded), hold.proof_days) == (agents_pb2.Hold.CRASH, ["Hard disk 2"], 30)
    assert hold.site == office.services.authority.site
    assert not vsa.ended(held.job, held.fence)
    report(vsa, held, "RETURNED")
    assert not vsa.ended(held.job, held.fence), "it may still read"
    office.clock.moment += timedelta(seconds=held.lease_seconds)
    assert vsa.ended(held.job, held.fence)
    (again,) = lease(vsa, 1)
    vsa.register(agent.about(boot_id="another"))
    assert vsa.ended(again.job, again.fence), "the process that had it is gone"
    office.clock.moment += timedelta(minutes=10)
    (last,) = lease(vsa, 1)
    report(vsa, last, "DONE")
    assert vsa.ended(last.job, last.fence), "it said so itself"
    assert not vsa.ended(last.job, last.fence + 1), "nobody knows of that one"
    assert not vsa.ended("another", 1)


def test_the_server_has_the_name_that_agents_expect(wire: Wire) -> None:
    """`Line` asks for it; a certificate without it would not let `register` through."""
    line, agent = wire.join("vsa", "v")
    assert COMMSERVE_NAME == "commserve.ingot"
    assert line.register(agent.about()).heartbeat_seconds > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": agents_pb2.ReportRequest.STATE_UNSPECIFIED},
        {"state": agents_pb2.ReportRequest.COMMITTING},
        {"state": agents_pb2.ReportRequest.COMMITTING, "sid": 1 << 40},
        {"state": agents_pb2.ReportRequest.DONE, "result": "no json"},
        {"state": agents_pb2.ReportRequest.DONE, "result": "[1]"},
    ],
)
def test_a_report_that_makes_no_sense_is_refused(wire: Wire, wrong: dict[str, object]) -> None:
    line, agent = wire.join("vsa", "v")
    line.register(agent.about())
    with pytest.raises(RequestInvalid):
        line.report(agents_pb2.ReportRequest(assignment="x", **wrong))  # type: ignore[arg-type]


def test_a_repository_that_is_a_pool_already_is_not_another_one(wire: Wire) -> None:
    media, agent = wire.join("mediaagent", "m")
    media.register(agent.about(pools=[agents_pb2.PoolSeen(id="0b3f", name="old", url="file:///p")]))
    made = wire.office.post("/pools", {"name": "new", "url": "file:///q", "agents": [agent.caller.id]})
    (making,) = [each for each in lease(media) if each.HasField("create_pool")]
    report(media, making, "DONE", result='{"pool": "0b3f"}')
    shown = wire.office.get(f"/pools/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("failed", "that repository is pool old already")


def test_a_media_agent_keeps_its_addresses_and_pools_when_it_does_not_name_them_again(wire: Wire) -> None:
    media, agent = wire.join("mediaagent", "m")
    media.register(agent.about(pools=[agents_pb2.PoolSeen(id="0b3f", name="main", url="file:///p")]))
    media.register(agent.about("next boot"))
    assert wire.office.get("/pools")["items"][0]["agents"] == [agent.caller.id]
    assert wire.office.get(f"/agents/{agent.caller.id}")["addresses"] == ["local=127.0.0.1:1:2"]


def test_an_agent_that_went_away_while_it_waited_is_given_nothing(wire: Wire) -> None:
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    again = wire.line(agent.identity)
    wire.office.hypervisor(agents=[agent.caller.id])
    with ThreadPoolExecutor(1) as threads:
        request = agents_pb2.LeaseRequest(boot_id="boot", free_slots=1, wait_seconds=20)
        waiting = threads.submit(vsa.lease, request)
        vsa.heartbeat(agents_pb2.HeartbeatRequest(boot_id="boot"))
        vsa.lease_no_more()
        with pytest.raises(PeerUnreachable):
            waiting.result()
        vsa.heartbeat(agents_pb2.HeartbeatRequest(boot_id="boot"))  # what was said before has been heard
        wire.office.look(seconds=5)
        assert [each.WhichOneof("work") for each in again.lease(request).assignments] == ["discover"]


@pytest.mark.parametrize(
    "result",
    [r'{"a": "\ud800"}', '{"a": NaN}', "[]", "{", '{"a":' * 5000, json.dumps({"a": "b" * (1 << 20)})],
    ids=["half a character", "no number", "no object", "no JSON", "too deep", "too long"],
)
def test_a_result_that_nobody_could_be_shown_is_refused(wire: Wire, result: str) -> None:
    """It stands in the list of all jobs, which one broken agent must not take away from everybody."""
    office = wire.office
    vsa, agent = wire.join("vsa", "v")
    vsa.register(agent.about())
    office.hypervisor(agents=[agent.caller.id])
    office.look()
    (looking,) = lease(vsa)
    with pytest.raises(RequestInvalid, match="result"):
        report(vsa, looking, "DONE", result=result)
    (job,) = office.get("/jobs?kind=discover")["items"]
    assert (job["state"], job["result"]) == ("ASSIGNED", {})
