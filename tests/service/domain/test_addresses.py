import pytest

from service.domain.addresses import literal, refusal

OWN = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
NOBODYS = [
    "0.0.0.0", "::", "169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "224.0.0.1", "ff02::1",
    "255.255.255.255", "240.0.0.1", "64:ff9b::7f00:1", "::7f00:1",
]  # fmt: skip
NEAR = ["10.1.2.3", "172.16.0.9", "192.168.1.7", "fd12:3456::1", "100.64.0.1"]
FAR = ["8.8.8.8", "2600::1", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("administrator", [True, False])
@pytest.mark.parametrize("outside", [True, False])
def test_who_may_send_where(administrator: bool, outside: bool):
    def allowed(addresses: list[str]) -> set[bool]:
        return {refusal(one, administrator=administrator, outside=outside) is None for one in addresses}

    assert allowed(OWN) == {administrator}
    assert allowed(NOBODYS) == {False}
    assert allowed(NEAR) == {True}
    assert allowed(FAR) == {outside}


def test_a_name_is_no_address_unless_it_is_the_machines_own():
    assert [literal(host) for host in ("localhost", "a.localhost", "localhost.")] == ["127.0.0.1"] * 3
    assert [literal(host) for host in ("shop.example", "localhost.example", "")] == [None] * 3
    assert (literal("10.1.2.3"), literal("[fd12::1]")) == ("10.1.2.3", "fd12::1")
