"""Laws that hold whatever agents, people and the clock do: a random world around real tables."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from commserve.faults import LeaseLost
from commserve.jobs.lifecycle import Failure
from commserve.jobs.progress import Answer
from commserve.jobs.states import ACTIVE, ENDED, State
from runtime.faults import Retry
from tests.commserve.office import Office

STEPS = 120
FAILURES = [Failure("test.fault", "as told", retry) for retry in Retry] + [Failure.of(LeaseLost("test"))]


class World:
    """Agents that hang, die, lie and come back; people who cancel; a clock that jumps both ways."""

    def __init__(self, office: Office, seed: int) -> None:
        self.office = office
        self.random = random.Random(seed)
        self.plan = office.protect(6, schedule={"cron": "0 * * * *"}, limits={"attempts": 3})
        self.agents = [office.agent() for _ in range(3)]
        self.agents += [agent["id"] for agent in office.all_pages("/agents?role=mediaagent")]
        self.heard: Counter[Answer] = Counter()
        self.leases: list[object] = []  # every row that was ever leased: their holders may speak at any time

    def step(self) -> None:
        self.random.choice([self.lease, self.lease, self.report, self.report, self.report, self.time, self.cancel])()
        self.check()

    def lease(self) -> None:
        before = {job.id: job for job in self.office.jobs()}
        for job in self.office.lease(self.random.choice(self.agents), self.random.randint(1, 3)):
            assert before[job.id].assignment_id is None
            assert job.fence == before[job.id].fence + 1
            self.leases.append(job)

    def report(self) -> None:
        if not self.leases:
            return
        job = self.random.choice(self.leases)
        before = self.office.job(job.id)  # type: ignore[attr-defined]
        state = self.random.choice(["RUNNING", "COMMITTING", "DONE", "FAILED", "CANCELLED", "RETURNED"])
        if state == "COMMITTING" and before.kind != "backup":
            return
        answer = self.office.report(
            job,
            state,
            sid=7,
            failure=self.random.choice(FAILURES) if state == "FAILED" else None,
            progress={"done_bytes": self.random.randint(0, 3)},
            result={"committed": self.random.random() < 0.5},
        )
        self.heard[answer] += 1
        holds = before.assignment_id == job.assignment_id  # type: ignore[attr-defined]
        assert (answer is Answer.STALE) == (not holds)
        if not holds:
            assert self.office.job(before.id) == before  # a zombie changes nothing

    def time(self) -> None:
        seconds = self.random.choice([1, 20, 61, 600, 1900, 4000, 90_000, -30, -4000, -90_000])
        self.office.look(seconds=seconds)

    def cancel(self) -> None:
        active = [job.id for job in self.office.jobs() if job.state in ACTIVE]
        if active:
            answer = self.office.ask("POST", f"/jobs/{self.random.choice(active)}/cancel")
            assert answer.status_code in (200, 409)

    def check(self) -> None:
        jobs = self.office.jobs()
        subjects = [job.subject for job in jobs if job.state in ACTIVE]
        assert len(subjects) == len(set(subjects)), "two active jobs for one thing"
        for job in jobs:
            assert (job.ended_at is not None) == (job.state in ENDED)
            if job.state in (State.QUEUED, *ENDED):
                assert job.assignment_id is None
            if job.state in (State.ASSIGNED, State.RUNNING, State.CANCELLING):
                assert job.assignment_id is not None
            if job.state == State.COMMITTING:
                assert job.sid
            assert job.attempts <= job.attempts_allowed

    def everybody_falls_silent(self) -> None:
        """No agent ever speaks again: every job ends all the same, and says how."""
        self.office.put(f"/plans/{self.plan}", {"name": "off", "enabled": False})
        mine = [job.id for job in self.office.jobs() if job.kind == "backup" and job.state in ACTIVE]
        for _ in range(40):
            self.office.look(hours=12)
        for key in mine:
            job = self.office.job(key)
            assert job.state in ENDED, job
            assert job.state != State.FAILED or job.fault_code


@pytest.mark.parametrize("seed", range(8))
def test_the_laws_hold_in_a_random_world(seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        office = Office(Path(directory))
        world = World(office, seed)
        for _ in range(STEPS):
            world.step()
        assert world.heard[Answer.GO_ON]
        assert world.heard[Answer.STALE]
        world.everybody_falls_silent()
        office.close()
