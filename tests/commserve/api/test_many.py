"""More people ask at once than there are threads to answer them."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx

from commserve.daemon import Web
from commserve.settings import CommServeSettings
from tests.commserve.office import Office

PEOPLE = 120  # of 40 threads


def test_as_many_as_like_may_write_at_once(tmp_path: Path) -> None:
    office = Office(tmp_path)
    web = Web(office.services, CommServeSettings(tmp_path, http="127.0.0.1:0"))
    answers: list[int] = []

    def ask(number: int) -> None:
        headers = {"Authorization": f"Bearer {office.administrator}"}
        url = f"http://127.0.0.1:{web.port}/api/v1/plans"
        answers.append(httpx.post(url, json={"name": f"plan-{number}"}, headers=headers, timeout=60).status_code)

    people = [threading.Thread(target=ask, args=(number,)) for number in range(PEOPLE)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    web.stop()
    assert answers == [201] * PEOPLE
    assert len(office.all_pages("/plans")) == PEOPLE
    office.close()
