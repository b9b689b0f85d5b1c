"""Where keys go."""

import pytest

from streams.murmur import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "expected"),
    # From the tests of Apache Kafka's own Utils, signed.
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_a_key_has_the_hash_that_java_s_clients_give_it(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF
    assert partition_of(key, 8) == (expected & 0x7FFFFFFF) % 8
