"""How many sessions one address may have."""

from __future__ import annotations

import pytest

from mediaserver.errors import TooMany
from mediaserver.rtc.admission import Admission
from tests.rtc.test_transport import Port, Recorder
from tests.virtual_time import virtual_time

SCHOOL = "203.0.113.7"


def full(most: int = 3) -> Admission:
    admission = Admission(most)
    for number in range(most):
        admission.check(SCHOOL)
        admission.count(SCHOOL, f"{number}")
    return admission


def test_one_more_than_allowed_is_refused_until_one_has_ended() -> None:
    admission = full()
    with pytest.raises(TooMany) as refused:
        admission.check(SCHOOL)
    assert refused.value.headers["Retry-After"]
    admission.check("203.0.113.8")
    admission.forget("1")
    admission.forget("1")
    admission.check(SCHOOL)


def test_ipv6_counts_by_its_network_and_a_mapped_address_as_ipv4() -> None:
    admission = Admission(1)
    admission.count("2001:db8::1", "six")
    with pytest.raises(TooMany):
        admission.check("2001:db8::ffff")
    admission.check("2001:db8:0:1::1")
    admission.count(f"::ffff:{SCHOOL}", "four")
    with pytest.raises(TooMany):
        admission.check(SCHOOL)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "", None])
def test_loopback_and_who_has_no_address_have_no_limit(host: str | None) -> None:
    admission = Admission(1)
    for number in range(10):
        admission.check(host)
        admission.count(host, f"{number}")


@virtual_time
async def test_sessions_that_end_in_whatever_way_are_forgotten() -> None:
    async with Port() as port:
        admission = port.transport.admission
        for _ in range(5):
            session = port.open(Recorder())
            admission.count(SCHOOL, session.id)
            port.transport.close(session, "test")
        assert not admission._customers
        assert not admission._sessions
