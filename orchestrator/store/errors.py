"""Errors of the store: each says what was found, where, and what to do."""


class UnusableDatabase(Exception):
    """The database is there but cannot be used, now or later; nothing was written over it."""

    def __init__(self, database: str, fault: str, remedy: str) -> None:
        super().__init__(database, fault, remedy)
        self.database = database
        self.fault = fault
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.database} cannot be used: {self.fault}. Nothing was changed. {self.remedy}"


class DatabaseAway(Exception):
    """The database does not answer, or takes nothing, now; later it may. What was not committed is undone."""

    def __init__(self, database: str, cause: str) -> None:
        super().__init__(database, cause)
        self.database = database
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.database} does not answer: {self.cause}. See that it runs and has room."


class LeaseLost(Exception):
    """Whoever had a lease has it no longer, and must end what it does without writing anything more."""

    def __init__(self, name: str, holder: str, epoch: int) -> None:
        super().__init__(name, holder, epoch)
        self.name = name
        self.holder = holder
        self.epoch = epoch

    def __str__(self) -> str:
        return f"{self.holder} no longer has the lease {self.name!r} of epoch {self.epoch}: another may have it"


class UnknownExperiment(LookupError):
    """No experiment has this id."""

    def __init__(self, experiment: str) -> None:
        super().__init__(experiment)
        self.experiment = experiment

    def __str__(self) -> str:
        return f"there is no experiment {self.experiment!r}; a name is turned into an id by experiments.by_name"


class TrialsNotOpen(Exception):
    """Trials to be started or finished were never planned or have ended; nothing of the batch was written."""

    def __init__(self, experiment: str, trials: tuple[str, ...]) -> None:
        super().__init__(experiment, trials)
        self.experiment = experiment
        self.trials = trials

    def __str__(self) -> str:
        return (
            f"experiment {self.experiment!r}: not planned or already ended: {', '.join(self.trials)}. "
            "Another driver may have finished them: read the trials again and go on with what is open."
        )


class NotWanted(Exception):
    """An ensemble's version was to be deployed or given up, but nobody waits for it (any more)."""

    def __init__(self, ensemble: str, version: int, state: str | None) -> None:
        super().__init__(ensemble, version, state)
        self.ensemble = ensemble
        self.version = version
        self.state = state

    def __str__(self) -> str:
        found = "was never proposed" if self.state is None else f"is {self.state}"
        return f"version {self.version} of ensemble {self.ensemble!r} {found}; read the wanted versions again"
