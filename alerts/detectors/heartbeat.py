"""Heartbeat: a required source stopped publishing."""

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from alerts.detectors.base import NO_TIME, Duration, Names, Observation, Rule, SubjectWindow
from alerts.wording import duration_text


class HeartbeatRule(Rule):
    """Fires when one of its `sources` has published nothing within the window, of any kind, topic or
    language, whatever is usual."""

    watches_documents: ClassVar[bool] = False
    has_evidence: ClassVar[bool] = False
    stands_alone: ClassVar[bool] = True

    type: Literal["heartbeat"]
    topics: Literal["all"] = "all"
    entities: None = None
    sources: Names = Field(min_length=1)
    # A monitor that was down first reads the documents that waited meanwhile.
    hold: Duration = Field(timedelta(minutes=2), alias="for")
    keep_firing_for: Duration = NO_TIME

    @property
    def can_fire_late(self) -> bool:
        return False

    def observe(self, subject: str, window: SubjectWindow) -> Observation:
        missing = [source for source in self.sources if source not in window.last_seen]
        subject = f"no {self.noun} from {', '.join(missing)}" if missing else f"{self.noun} from every source"
        return Observation(
            n=len(window.last_seen),
            value=float(len(missing)),
            threshold=1.0,
            breached=bool(missing),
            calm=not missing,
            uncertainty="by the publication times of the documents read so far",
            summary=f"{subject} in the last {duration_text(window.length)}",
        )
