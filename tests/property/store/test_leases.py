"""Leases, whoever asks for them, whenever: one holder at a time, and never again one that has lost it."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.store.leases import Lease, Row, granted, is_free, stands

TTL = timedelta(seconds=15)
holders = st.sampled_from(["a", "b", "c"])


class Contention(RuleBasedStateMachine):
    """What the database does with one row, one transaction after the other, while time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 15, tzinfo=UTC)
        self.row = Row("it", None, 0, datetime.fromtimestamp(0, UTC))
        self.given: list[Lease] = []

    @rule(seconds=st.integers(-5, 40))
    def time_goes_by(self, seconds: int) -> None:
        """Also back, as clocks are set."""
        self.now += timedelta(seconds=seconds)

    @rule(holder=holders)
    def acquire(self, holder: str) -> None:
        free = is_free(self.row, self.now)
        standing = [lease for lease in self.given if stands(self.row, lease)]
        row = granted(self.row, holder, self.now, TTL)
        assert (row is not None) == free
        if row is None:
            return
        assert not any(stands(row, lease) for lease in standing)
        self.row = row
        self.given.append(Lease("it", holder, row.epoch))
        assert stands(row, self.given[-1])
        assert not is_free(row, self.now)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """Whoever was given it, however long ago."""
        if self.given and stands(self.row, data.draw(st.sampled_from(self.given))):
            self.row = Row("it", self.row.holder, self.row.epoch, self.now + TTL)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.given and stands(self.row, data.draw(st.sampled_from(self.given))):
            self.row = Row("it", None, self.row.epoch, self.row.expires_at)

    @invariant()
    def only_the_newest_lease_can_stand(self) -> None:
        assert [lease.epoch for lease in self.given] == [*range(1, len(self.given) + 1)]
        assert [lease for lease in self.given if stands(self.row, lease)] in ([], self.given[-1:])

    @invariant()
    def what_nobody_holds_is_free(self) -> None:
        assert is_free(self.row, self.now) or stands(self.row, self.given[-1])


TestContention = Contention.TestCase
