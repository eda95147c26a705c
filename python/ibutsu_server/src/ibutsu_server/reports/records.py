"""The records that readers yield; the store takes the same."""

from ibutsu_core.records import OUTCOMES, ArtifactRecord, Outcome, Record, ResultRecord, RunRecord

__all__ = ["OUTCOMES", "ArtifactRecord", "Outcome", "Record", "ResultRecord", "RunRecord"]
