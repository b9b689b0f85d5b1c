"""Which partition a key goes to: murmur2, as Apache Kafka's own clients and `murmur2_random` have it."""

_MASK = 0xFFFFFFFF
_SEED, _FACTOR, _SHIFT = 0x9747B28C, 0x5BD1E995, 24


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that a record of this key is produced to, of so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """The hash of a key, as an unsigned number of 32 bits."""
    found = _SEED ^ len(key)
    whole = len(key) // 4 * 4
    for place in range(0, whole, 4):
        part = int.from_bytes(key[place : place + 4], "little") * _FACTOR & _MASK
        part = (part ^ part >> _SHIFT) * _FACTOR & _MASK
        found = found * _FACTOR & _MASK ^ part
    if rest := key[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * _FACTOR & _MASK
    found = (found ^ found >> 13) * _FACTOR & _MASK
    return found ^ found >> 15
