"""Which addresses the service may fetch from: public ones, and no form that hides another address.

`ipaddress` knows what IANA lists as not global. Beyond that stand here, explicitly, the forms that guards of other
services have missed: IPv4 inside IPv6 (mapped, compatible, 6to4, Teredo, NAT64, ISATAP), and addresses of the
surroundings that are public by number.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

REFUSED = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata is at 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's host, public by number
            "169.254.0.0/16",  # link-local; metadata is at 169.254.169.254
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/96",  # unspecified, loopback, IPv4-compatible
            "::ffff:0:0/96",  # IPv4-mapped
            "::ffff:0:0:0/96",  # IPv4-translated
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",
            "100::/64",
            "100:0:0:1::/64",
            "2001::/23",  # Teredo and other protocols
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",  # unique local; metadata is at fd00:ec2::254
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ),
    )
)

_ISATAP = (0x00005EFE, 0x02005EFE)
"""Third quarter of an IPv6 address that carries an IPv4 address in its last one."""


def is_public(text: str) -> bool:
    """Say whether an address, as a resolver gives it, is one on the public Internet.

    Args:
        text: An IPv4 or IPv6 address; one with a zone ("fe80::1%eth0") is never public.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and not _is_plain(address):
        return False
    return address.is_global and not address.is_multicast and not _is_listed(address)


def _is_plain(address: IPv6Address) -> bool:
    """Say whether an IPv6 address has no zone and carries no IPv4 address."""
    return address.scope_id is None and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP


def _is_listed(address: IPv4Address | IPv6Address) -> bool:
    return any(address.version == network.version and address in network for network in REFUSED)
