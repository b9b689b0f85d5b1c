"""What a search needs of others: the words live in core, since serving speaks them too."""

from orchestrator.core.draft import Assembled, Assembler, Candidate, EnsembleDraft

__all__ = ["Assembled", "Assembler", "Candidate", "EnsembleDraft"]
