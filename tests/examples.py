"""How many examples a property is tried on."""

from hypothesis import settings


def at_most(examples: int) -> settings:
    """Fewer than the profile's, where each takes long; the fast profile has few for all."""
    return settings(max_examples=min(examples, settings().max_examples))
