"""Authorization: the question for one thing and the question for a list have the same answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from commserve.access import people
from commserve.access.attempts import FREE_ATTEMPTS, MOST_AT_ONCE, Attempts
from commserve.access.roles import EVERYTHING, ROLES, Grant, Permission, Person, Scope, authorize, scopes_of, visible
from commserve.faults import NotAllowed, NotAuthenticated, TooManyAttempts
from tests.commserve.office import START, SetClock, counted_ids, open_migrated

IDS = ("a", "b", "c")
keys = st.sampled_from([None, *IDS])
scopes = st.one_of(
    st.just(EVERYTHING), st.builds(Scope, st.sampled_from(["hypervisor", "plan", "group"]), st.sampled_from(IDS))
)
grants = st.builds(Grant, st.sampled_from(list(ROLES.values())), scopes)
people_ = st.builds(
    Person,
    st.just("id"),
    st.just("name"),
    st.lists(grants, max_size=4).map(tuple),
    st.just(""),
    st.frozensets(st.sampled_from(list(Permission))),
)


@given(people_, st.sampled_from(list(Permission)), st.lists(st.tuples(keys, keys, keys), min_size=1, max_size=8))
def test_a_list_shows_exactly_what_one_by_one_is_allowed(
    person: Person, permission: Permission, rows: list[tuple[str | None, str | None, str | None]]
) -> None:
    names = ("hypervisor_id", "plan_id", "rule_id")
    table = sa.Table("things", sa.MetaData(), sa.Column("n", sa.Integer), *(sa.Column(name, sa.Text) for name in names))
    things = [{"n": n, **dict(zip(names, row, strict=True))} for n, row in enumerate(rows)]
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(sa.insert(table), things)
        columns = {"hypervisor": table.c.hypervisor_id, "plan": table.c.plan_id, "group": table.c.rule_id}
        shown = set(connection.execute(sa.select(table.c.n).where(visible(person, permission, columns))).scalars())
    engine.dispose()

    def allowed(thing: dict[str, object]) -> bool:
        try:
            authorize(person, permission, scopes_of({name: thing[name] for name in names}))  # type: ignore[misc]
        except NotAllowed:
            return False
        return True

    assert shown == {thing["n"] for thing in things if allowed(thing)}


def test_roles_grow_from_viewer_over_operator_to_administrator() -> None:
    assert ROLES["viewer"] < ROLES["operator"] < ROLES["administrator"] == frozenset(Permission)
    assert all(name.endswith(".read") or name == "self" for name in ROLES["viewer"])


def test_a_person_without_a_binding_may_nothing() -> None:
    for permission in Permission:
        with pytest.raises(NotAllowed):
            authorize(Person("1", "nobody"), permission, [EVERYTHING])


def test_tokens_let_in_their_user_until_they_expire_or_the_user_is_disabled(tmp_path: Path) -> None:
    store, ids = open_migrated(tmp_path), counted_ids()
    with store.writing() as connection:
        user = people.make_user(connection, ids, "ann", None, START)
        people.bind(connection, ids, user, "viewer", EVERYTHING, START)
        later = START.replace(year=2027)
        _, text = people.make_token(connection, ids, user, "t", [Permission.JOBS_READ], later, START)
        person = people.person_of(connection, text, START)
        assert person.scopes(Permission.JOBS_READ) == {EVERYTHING}
        assert person.scopes(Permission.PLANS_READ) == set()  # the token may less than its user
        for wrong in (text[:-1], text + "0", "ingot_x_y", "", text.replace("ingot", "other")):
            with pytest.raises(NotAuthenticated, match="no such token"):
                people.person_of(connection, wrong, START)
        with pytest.raises(NotAuthenticated, match="expired"):
            people.person_of(connection, text, later)
        connection.exec_driver_sql("UPDATE users SET disabled = 1")
        with pytest.raises(NotAuthenticated, match="disabled"):
            people.person_of(connection, text, START)
    store.close()


def test_a_database_holds_no_secret_of_tokens_and_passwords(tmp_path: Path) -> None:
    store, ids = open_migrated(tmp_path), counted_ids()
    with store.writing() as connection:
        user = people.make_user(connection, ids, "ann", "correct horse battery", START)
        _, text = people.make_token(connection, ids, user, "t", [], None, START)
        assert people.check_password(connection, "ann", "correct horse battery") == user
        for name, password in (("ann", "wrong"), ("bob", "correct horse battery"), ("ann", "")):
            with pytest.raises(NotAuthenticated):
                people.check_password(connection, name, password)
    store.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert text.rpartition("_")[2].encode() not in everything
    assert b"correct horse" not in everything


def test_guesses_at_the_same_time_are_not_more_than_one_after_the_other() -> None:
    """All are asked before the first one's password is looked at."""
    attempts, everybody = Attempts(SetClock()), 40
    asked = threading.Barrier(everybody)
    admitted, refused = [], []

    def guess(number: int) -> None:
        asked.wait()
        try:
            with attempts.counted("ann"):
                admitted.append(number)
                if len(admitted) == 1:
                    looked_at.wait()
                raise NotAuthenticated("no")
        except TooManyAttempts:
            refused.append(number)
            looked_at.wait()
        except NotAuthenticated:
            pass

    looked_at = threading.Barrier(1 + everybody - FREE_ATTEMPTS)  # the first one, and who is refused
    threads = [threading.Thread(target=guess, args=(number,)) for number in range(everybody)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(admitted), len(refused)) == (FREE_ATTEMPTS, everybody - FREE_ATTEMPTS)


def test_passwords_of_everybody_are_looked_at_one_after_the_other_and_few_wait() -> None:
    """A look takes all cores and 64 MiB, and asking for one needs nothing but a name that was never tried."""
    attempts, everybody = Attempts(SetClock()), 40
    looked_at = threading.Barrier(1 + everybody - MOST_AT_ONCE)
    inside, most_inside, admitted, refused = 0, 0, [], []

    def guess(number: int) -> None:
        nonlocal inside, most_inside
        try:
            with attempts.counted(f"name-{number}"):
                inside += 1
                most_inside = max(most_inside, inside)
                admitted.append(number)
                if len(admitted) == 1:
                    looked_at.wait()
                inside -= 1
        except TooManyAttempts:
            refused.append(number)
            looked_at.wait()

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(everybody)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most_inside, len(admitted), len(refused)) == (1, MOST_AT_ONCE, everybody - MOST_AT_ONCE)
    with attempts.counted("somebody"):
        pass  # there is room again


def test_guessing_passwords_slows_down_and_a_right_one_ends_it() -> None:
    clock = SetClock()
    attempts = Attempts(clock)

    def guess(right: bool) -> None:
        with attempts.counted("ann"):
            if not right:
                raise NotAuthenticated("no")

    for _ in range(FREE_ATTEMPTS):
        with pytest.raises(NotAuthenticated):
            guess(right=False)
    with pytest.raises(TooManyAttempts):
        guess(right=True)
    with attempts.counted("bob"):
        pass  # somebody else's name
    clock.pass_(seconds=61)
    guess(right=True)
    guess(right=True)
