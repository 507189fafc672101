"""Tickets are believed only whole, unexpired, and from the agent that they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.channels import Caller
from proto.tickets import Ticket, TicketRefused, sign, verify
from runtime.certificates import new_key, public_der

VSA = Caller("vsa", "0f0e")
TICKET = Ticket(VSA.uri, "job-1", 2, "web1", "pool-1", ("backup",), (), 1000)
KEY = new_key()
PUBLIC = public_der(KEY.public_key())


def test_a_ticket_that_was_signed_is_read_as_it_was() -> None:
    assert verify(sign(TICKET, KEY), PUBLIC) == TICKET


def test_a_ticket_of_another_commserve_is_refused() -> None:
    with pytest.raises(TicketRefused):
        verify(sign(TICKET, new_key()), PUBLIC)


@given(st.data())
def test_a_ticket_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    text = sign(TICKET, KEY)
    at = data.draw(st.integers(0, len(text.partition(".")[0]) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != text[at]))
    with pytest.raises(TicketRefused):
        verify(text[:at] + other + text[at + 1 :], PUBLIC)


@given(st.text(max_size=200))
def test_no_text_is_taken_for_a_ticket(text: str) -> None:
    with pytest.raises(TicketRefused):
        verify(text, PUBLIC)


@pytest.mark.parametrize(
    ("caller", "operation", "pool", "now"),
    [
        (Caller("vsa", "bad"), "backup", "pool-1", 0),
        (VSA, "expire", "pool-1", 0),
        (VSA, "backup", "pool-2", 0),
        (VSA, "backup", "pool-1", 1000),
    ],
)
def test_a_ticket_covers_nothing_else(caller: Caller, operation: str, pool: str, now: float) -> None:
    TICKET.require(VSA, "backup", "pool-1", 999.9)
    with pytest.raises(TicketRefused):
        TICKET.require(caller, operation, pool, now)
