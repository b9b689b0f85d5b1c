"""When a model's word is no longer asked for."""

from datetime import datetime, timedelta

from schemas.base import Reason


def too_old(trained_through: datetime, event_time: datetime, most: timedelta | None) -> Reason | None:
    """Why an ensemble must abstain for its age; None: it need not.

    Args:
        trained_through: the last bar that any of its members was trained on.
        event_time: of the tick, so that a replay is judged as the live ticks were.
        most: how much later a tick may be; None: any time.
    """
    age = event_time - trained_through
    if most is None or age <= most:
        return None
    old, allowed = (each / timedelta(days=1) for each in (age, most))
    message = (
        f"Its training ended {old:.1f} days before this bar, and {allowed:g} are allowed; search and deploy again."
    )
    return Reason(code="model_too_old", message=message)
