"""What is agreed about signals before any is read, and what only the site knows about its own files.

The plan is public and the same for all sites: channels with units and plausible ranges, how long a gap may be, how windows are
cut and what they are called. The mapping is the site's own: where its files are, what its channels are called.

>>> plan = SignalPlan.from_data({
...     "variable": "ecg", "channels": [{"name": "lead_ii", "unit": "mV", "minimum": -5, "maximum": 5}],
...     "windows": {"kind": "annotated", "before_seconds": 0.25, "levels": {"N": "0", "V": "1"}}, "outcome": "abnormal",
... })
>>> plan.channel_names
('lead_ii',)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from federation.data.contract import DataContract, Signal
from federation.documents import Document
from federation.errors import ManifestError, MappingError
from federation.identifiers import SiteId, VariableName
from site_client.signals.quality import ChannelLimits

_LARGEST_BYTES = 2**20
Text = Annotated[str, Field(min_length=1, max_length=128)]


class PlannedChannel(Document):
    """One channel of every window."""

    name: VariableName
    unit: Text
    minimum: float
    """Smallest plausible value; samples outside the range become gaps."""
    maximum: float
    clipped_samples: Annotated[int, Field(ge=2)] | None = None
    """So many equal samples at a rail are clipping; ``None``: not looked for."""
    flat_seconds: Annotated[float, Field(gt=0)] | None = None
    """A channel that does not move for so long is flat; ``None``: not looked for."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if not self.minimum < self.maximum:
            message = f"expected minimum < maximum for {self.name}, got {self.minimum} and {self.maximum}"
            raise ValueError(message)
        return self

    @property
    def limits(self) -> ChannelLimits:
        """What is looked for in the recording."""
        return ChannelLimits(self.minimum, self.maximum, self.clipped_samples, self.flat_seconds)


class SlidingWindows(Document):
    """Windows one after another over the whole recording."""

    kind: Literal["sliding"]
    stride_seconds: Annotated[float, Field(gt=0)]
    horizon_seconds: Annotated[float, Field(gt=0)] | None = None
    """The outcome is whether the onset that the list names comes within so long after the window's end; windows that end after the
    onset, or whose horizon nobody watched to its end, are left out. ``None``: the outcome is a column of the list."""


class AnnotatedWindows(Document):
    """One window around each annotation."""

    kind: Literal["annotated"]
    before_seconds: Annotated[float, Field(ge=0)]
    """From the window's start to the annotation."""
    levels: Annotated[dict[str, Text], Field(min_length=1)]
    """Annotation to the outcome's cell in the records; windows around others are left out."""


class SignalPlan(Document):
    """How recordings become windows. Rate and length of a window are the contract's."""

    variable: VariableName
    """The contract's signal."""
    channels: Annotated[tuple[PlannedChannel, ...], Field(min_length=1, max_length=512)]
    scaled: bool = False
    """Each channel's plausible range becomes -1 to 1: for channels of different units."""
    longest_gap_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Gaps up to this are interpolated, at longer ones recordings are split."""
    windows: Annotated[SlidingWindows | AnnotatedWindows, Field(discriminator="kind")]
    outcome: VariableName

    @property
    def channel_names(self) -> tuple[str, ...]:
        """In the order of the array."""
        return tuple(channel.name for channel in self.channels)

    def signal_of(self, contract: DataContract) -> Signal:
        """The contract's signal that the plan is for.

        Raises:
            ManifestError: If plan and contract do not fit each other.
        """
        variable = contract.variable(self.variable)
        if not isinstance(variable, Signal):
            raise ManifestError(
                f"expected a signal of the contract, got {self.variable!r} of kind {variable.kind!r}",
                remedy="correct `variable` in the plan",
            )
        ranges = (
            {("dimensionless", -1.0, 1.0)} if self.scaled else {(c.unit, c.minimum, c.maximum) for c in self.channels}
        )
        if variable.channels != len(self.channels) or len(set(self.channel_names)) != len(self.channels):
            raise ManifestError(
                f"expected {variable.channels} distinct channels in the plan, got {list(self.channel_names)}"
            )
        if ranges != {(variable.unit, variable.minimum, variable.maximum)}:
            raise ManifestError(
                f"expected channels in {variable.unit!r} from {variable.minimum:g} to {variable.maximum:g} as in the contract",
                remedy="give all channels the contract's unit and range, or set `scaled` and the contract's range to -1, 1",
            )
        if contract.outcome.name != self.outcome:
            raise ManifestError(f"expected the outcome {contract.outcome.name!r} of the contract, got {self.outcome!r}")
        return variable


class LocalChannel(Document):
    """What a channel is called in the site's files."""

    label: Text
    unit: Text | None = None
    """Needed for CSV; otherwise it stands in for the file's own."""


class SignalMapping(Document):
    """Where the site's recordings are, and what is in them."""

    site: SiteId
    recordings: Text
    """A CSV beside this file with a line for each recording: see the columns below. Others are kept with every window."""
    patient_column: Text = "patient"
    file_column: Text = "file"
    annotation_column: Text | None = None
    """Column with the file of annotations; ``None``: those inside an EDF file, or none."""
    onset_column: Text | None = None
    """Column with the time of the event, as a stamp or in seconds after the first sample; an empty cell: there was none."""
    time_column: Text = "time"
    """Of CSV recordings."""
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    """Of CSV recordings, if stamps are too coarse to show it."""
    channels: dict[VariableName, LocalChannel]

    def check_against(self, plan: SignalPlan) -> None:
        """Every channel of the plan must be known here.

        Raises:
            MappingError: If one is not, or an onset or annotations are needed and no column is named.
        """
        absent = [name for name in plan.channel_names if name not in self.channels]
        if absent:
            raise MappingError(
                f"expected every channel of the plan, got a mapping without {absent}",
                site=self.site,
                remedy="add them under `channels`",
            )
        windows = plan.windows
        if isinstance(windows, SlidingWindows) and windows.horizon_seconds is not None and self.onset_column is None:
            raise MappingError(
                "expected the column of the onset, got none", site=self.site, remedy="set `onset_column` in the mapping"
            )


def read_plan(path: Path) -> SignalPlan:
    """Read a plan from YAML or JSON.

    Raises:
        ManifestError: If it cannot be read or is no plan.
    """
    return SignalPlan.from_data(_data(path, ManifestError, "a plan for signals"), error=ManifestError)


def read_signal_mapping(path: Path) -> SignalMapping:
    """Read a site's mapping of signals from YAML or JSON.

    Raises:
        MappingError: If it cannot be read or is no such mapping.
    """
    return SignalMapping.from_data(_data(path, MappingError, "a mapping of signals"), error=MappingError)


def _data(path: Path, error: type[ManifestError | MappingError], what: str) -> object:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES)
        return yaml.safe_load(content.decode("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as failure:
        kind = type(failure).__name__
    raise error(f"expected {what} in YAML at {path}, got {kind}", remedy="check path, indentation and quotes")
