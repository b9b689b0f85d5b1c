"""Free ports."""

import pytest

from streams import ports


def test_a_taken_port_gives_the_next_free_one() -> None:
    with ports.bind(0) as taken:
        port = taken.getsockname()[1]
        assert port < ports.free(port) <= port + ports.NEIGHBOURS


def test_the_port_used_before_is_used_again() -> None:
    before = ports.free()
    assert ports.free(0, before=before) == before


def test_a_port_used_before_that_is_taken_gives_way_to_the_wanted_one() -> None:
    wanted = ports.free()
    with ports.bind(0) as taken:
        assert ports.free(wanted, before=taken.getsockname()[1]) == wanted


def test_any_port_is_none_that_a_client_is_given() -> None:
    assert all(port in ports.LASTING for port in ports.several(20))


def test_several_ports_are_different() -> None:
    assert len(set(ports.several(20))) == 20


def test_an_address_of_another_machine_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        ports.bind(0, "203.0.113.1")


def test_no_free_port_names_the_range() -> None:
    with ports.bind(65535), pytest.raises(ports.NoFreePort, match="65535"):
        ports.bind(65535)
