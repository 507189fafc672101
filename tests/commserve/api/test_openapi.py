"""Schemathesis on the whole description: no request, however odd, meets a failure of ours or an answer off contract."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.commserve.office import Office, machine

EXAMPLES = 12  # of each operation
OPERATIONS = 15  # in one test


class Populated:
    """One of everything, so that odd requests also meet things that are there."""

    def __init__(self, directory: Path) -> None:
        self.office = office = Office(directory)
        self.schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", office.client.app)
        self.operations = [found.ok() for found in self.schema.get_all_operations()]
        plan = office.protect(2, schedule={"cron": ""})
        office.discover(office.hypervisor(), machine("web"))
        run = office.post(f"/plans/{plan}/run")["id"]
        self.known = {
            "plan_id": plan,
            "run_id": run,
            "machine_id": "id-web",
            "agent_id": office.agent(),
            "token_id": office.post("/tokens", {"name": "t"})["id"],
            "user_id": office.post("/users", {"name": "u"})["id"],
            "job_id": office.jobs(kind="backup")[0].id,
            **{f"{name}_id": office.get(f"/{name}s")["items"][0]["id"] for name in ("pool", "rule", "hypervisor")},
        }


@pytest.mark.parametrize("part", range(5))
def test_no_request_breaks_it(tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commserve.api.jobs._MOST_EVENTS", 2)  # nobody here waits for the end of a job
    world = Populated(tmp_path)
    answered: Counter[int] = Counter()
    assert OPERATIONS * 4 < len(world.operations) <= OPERATIONS * 5
    for operation in world.operations[part * OPERATIONS : (part + 1) * OPERATIONS]:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), real=st.booleans())
        def ask(case: schemathesis.Case, real: bool) -> None:
            for name in case.path_parameters or {}:
                if real and name in world.known:
                    case.path_parameters[name] = world.known[name]
            headers = {"Authorization": f"Bearer {world.office.administrator}"}
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])
            answered[answer.status_code // 100] += 1

        ask()
    assert answered[2] > 0
    assert answered[4] > 0
    world.office.close()
