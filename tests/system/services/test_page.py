"""The commands of docs/operations.md for one machine work as they stand there, and so does what people do next."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.services.site import Site, site

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("page"), 4) as lab:
        (lab.images / "web0").rename(lab.images / "web1")
        (lab.images / "web1/machine.json").write_text('{"id": "web1"}')
        yield lab


def ingot(lab: Site, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "INGOT_STATE": str(lab.services.state)}
    for name in ("INGOT_COMMSERVE", "INGOT_TOKEN_FILE"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "ingot", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def documented() -> list[str]:
    """The commands of the second block of the page."""
    block = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)[1]
    return [line.partition(" #")[0].strip() for line in block.splitlines()]


def test_the_commands_for_one_machine_work_one_after_the_other(lab: Site) -> None:
    for line in documented():
        here = line.replace("/srv/images", str(lab.images)).replace("~/.local/state/ingot/up", str(lab.services.state))
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", here)]
        said = ingot(lab, *words[1:])
        assert said
    assert (lab.landing / "web1/disk-0.raw").read_bytes() == (lab.images / "web1/disk-0.raw").read_bytes()


def test_lists_are_tables_for_people_and_arrays_for_programs(lab: Site) -> None:
    for name in ("agent", "hypervisor", "machine", "plan", "rule", "pool", "job", "user", "token"):
        assert ingot(lab, name, "list").splitlines()[0].isupper(), name
        assert isinstance(json.loads(ingot(lab, name, "list", "--json")), list), name


def test_a_machine_is_shown_on_a_page(lab: Site) -> None:
    said = ingot(lab, "machine", "show", "web1")
    for expected in ("plan     daily, by rule everything", "disk-0.raw", "state    protected", "backup   DONE"):
        assert expected in said, said
    shown = json.loads(ingot(lab, "machine", "show", "web1", "--json"))
    assert [point["machine_id"] for point in shown["points"]] == [shown["id"]]


def test_a_plan_is_changed_where_something_is_said_and_nowhere_else(lab: Site) -> None:
    before = json.loads(ingot(lab, "plan", "show", "daily", "--json"))
    said = ingot(lab, "plan", "change", "daily", "--daily", "7", "--no-fall-back", "--disable")
    for expected in (
        "keeps      7 daily, 12 monthly",
        "fall back no",
        "schedule   disabled",
        "0 22 * * * Europe/Berlin",
    ):
        assert expected in said, said
    ingot(lab, "plan", "change", "daily", "--daily", "14", "--fall-back", "--enable")
    after = json.loads(ingot(lab, "plan", "show", "daily", "--json"))
    assert after == before
    wrong = ingot(lab, "plan", "change", "daily", "--cron", "whenever", code=1)
    assert "schedule.cron: expected five fields" in wrong


def test_a_hypervisor_says_at_once_what_is_in_it_or_why_it_cannot(lab: Site) -> None:
    missing = str(lab.images / "missing")
    said = ingot(lab, "hypervisor", "add", "attic", "--images", missing, code=1)
    assert f"added attic, but its machines are not discovered yet: {missing}: No such file" in said
    assert missing in next(line for line in ingot(lab, "hypervisor", "list").splitlines() if line.startswith("attic"))
    ingot(lab, "hypervisor", "remove", "attic")


def test_a_person_with_less_rights_is_refused_by_name(lab: Site, tmp_path: Path) -> None:
    ingot(lab, "user", "add", "vera", "--role", "viewer")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(json.loads(ingot(lab, "token", "add", "reading", "--user", "vera", "--json"))["token"])
    assert "web1" in ingot(lab, "machine", "list", "--token-file", str(token))
    refused = ingot(lab, "backup", "--plan", "daily", "--token-file", str(token), "--json", code=1)
    assert json.loads(refused)["error"]["code"] == "commserve.not_allowed"
    token.chmod(0o644)
    assert "chmod 600" in ingot(lab, "machine", "list", "--token-file", str(token), code=2)


def test_doctor_tries_every_hop(lab: Site) -> None:
    said = ingot(lab, "doctor")
    assert "here to mediaagent, data, by loopback" in said
    assert "no problem found" in said


def test_a_support_bundle_is_made(lab: Site, tmp_path: Path) -> None:
    assert "look into it" in ingot(lab, "support-bundle", "--to", str(tmp_path / "bundle.tar.gz"))


def test_what_is_not_there_is_named(lab: Site) -> None:
    assert "'web9'" in ingot(lab, "machine", "points", "web9", code=2)
    assert "silver" in ingot(lab, "backup", "--plan", "silver", code=2)
