"""Where a webhook may lead, by the address behind its name.

The gateway sends to applications of the house's own network. It is no way for a person to reach what only
this machine reaches, and nothing leaves the house unless a setting says so. Knows no name server.
"""

import ipaddress


def refusal(address: str, *, administrator: bool, outside: bool) -> str | None:
    """Why nothing may be sent to `address`, an IP; none when it may. `administrator`: one owns the webhook."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return None if administrator else "Only an administrator's webhook may lead to this machine itself."
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return "No application can listen at such an address."
    if ip.is_global and not outside:
        return "It lies outside your network. An operator may allow that with TAILORBIRD_WEBHOOKS_OUTSIDE."
    return None


def literal(host: str) -> str | None:
    """The address that a URL's host spells out; none for a name, which is looked up when something is sent."""
    if host.rstrip(".").rpartition(".")[2] == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None
