"""What nvidia-smi prints, as values. Tables are read by pattern: their widths differ between drivers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

FIELDS = "index,uuid,name,pci.bus_id,mig.mode.current,mig.mode.pending,compute_mode,persistence_mode,display_active,memory.total,driver_version"  # noqa: E501
QUERY = (f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Instance:
    """One GPU instance of a card; ``uuid`` is empty while it has no compute instance."""

    number: int
    profile: str
    profile_id: int
    start: int
    size: int
    uuid: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """What it is, and where: profile id and start slot."""
        return (self.profile_id, self.start)


@dataclass(frozen=True)
class CardState:
    """One card as nvidia-smi reports it. ``mig`` and ``pending`` are None where it has no MIG."""

    index: int
    uuid: str
    name: str
    address: str
    mig: bool | None
    pending: bool | None
    compute_mode: str
    persistence: bool
    display: bool
    memory_mib: int
    driver: str
    instances: tuple[Instance, ...] = field(default=())


@dataclass(frozen=True)
class ProfileLine:
    """One profile of a card, from ``-lgip`` and ``-lgipp``."""

    card: int
    name: str
    number: int
    maximum: int
    memory_gib: float
    engines: tuple[int, int, int, int]
    """Decoders, encoders, JPEG and optical flow engines."""
    starts: tuple[int, ...] = ()
    size: int = 0


def _flag(text: str) -> bool | None:
    return {"enabled": True, "disabled": False}.get(text.lower())


def parse_cards(text: str) -> list[CardState]:
    """Cards from the rows of QUERY; rows of another form are left out."""
    found = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(FIELDS.split(",")) or not values[0].isdigit() or not values[1].startswith("GPU-"):
            continue
        found.append(
            CardState(
                index=int(values[0]),
                uuid=values[1],
                name=values[2],
                address=values[3],
                mig=_flag(values[4]),
                pending=_flag(values[5]),
                compute_mode=values[6],
                persistence=bool(_flag(values[7])),
                display=bool(_flag(values[8])),
                memory_mib=int(values[9]) if values[9].isdigit() else 0,
                driver=values[10],
            )
        )
    return found


_INSTANCE = re.compile(r"\|\s+(\d+)\s+MIG (\S+)\s+(\d+)\s+(\d+)\s+(\d+):(\d+)\s+\|")
_DEVICE = re.compile(r"\s+MIG \S+\s+Device\s+(\d+): \(UUID: (MIG-[^)\s]+)\)")
_CARD = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")


def parse_instances(table: str, uuids: dict[int, str]) -> tuple[Instance, ...]:
    """Instances of one card from ``-lgi``; ``uuids`` by instance number, as ``match_devices`` gives them."""
    rows = (_INSTANCE.search(line) for line in table.splitlines())
    found = [
        Instance(int(row[4]), row[2], int(row[3]), int(row[5]), int(row[6]), uuids.get(int(row[4]), ""))
        for row in rows
        if row
    ]
    return tuple(sorted(found, key=lambda instance: instance.start))


def match_devices(listing: str, document: str, card: str) -> dict[int, str]:
    """UUIDs of a card's MIG devices by the number of their instance.

    ``-L`` knows UUIDs by device index, ``-q -x`` knows which instance each index is; neither knows both.
    """
    by_index: dict[int, str] = {}
    current = ""
    for line in listing.splitlines():
        if head := _CARD.match(line):
            current = head[1]
        elif (device := _DEVICE.match(line)) and current == card:
            by_index[int(device[1])] = device[2]
    found: dict[int, str] = {}
    try:
        root = ElementTree.fromstring(document[document.index("<nvidia_smi_log") :])
    except (ElementTree.ParseError, ValueError):
        return found
    for gpu in root.iter("gpu"):
        if gpu.findtext("uuid") == card:
            for device_element in gpu.iter("mig_device"):
                index = int(device_element.findtext("index") or -1)
                if index in by_index:
                    found[int(device_element.findtext("gpu_instance_id") or -1)] = by_index[index]
    return found


_PROFILE = re.compile(
    r"\|\s+(\d+)\s+MIG (\S+)\s+(\d+)\s+\d+/(\d+)\s+([\d.]+)\s+\S+\s+(\d+)\s+(\d+)\s+(\d+)\s+\|\n"
    r"\|\s+(\d+)\s+(\d+)\s+(\d+)\s+\|"
)
_PLACEMENT = re.compile(r"GPU\s+(\d+)\s+Profile ID\s+(\d+)\s+Placements?\s*:\s*\{([\d,]*)\}:(\d+)")


def parse_profiles(table: str, placements: str) -> list[ProfileLine]:
    """Profiles from ``-lgip`` with their slots from ``-lgipp``; those without a slot are left out."""
    slots: dict[tuple[int, int], tuple[tuple[int, ...], int]] = {}
    for row in _PLACEMENT.finditer(placements):
        starts = tuple(int(start) for start in row[3].split(",") if start)
        slots[(int(row[1]), int(row[2]))] = (starts, int(row[4]))
    found = []
    for row in _PROFILE.finditer(table):
        card, number = int(row[1]), int(row[3])
        starts, size = slots.get((card, number), ((), 0))
        engines = (int(row[7]), int(row[8]), int(row[10]), int(row[11]))
        if starts:
            found.append(ProfileLine(card, row[2], number, int(row[4]), float(row[5]), engines, starts, size))
    return found


@dataclass(frozen=True)
class UserLine:
    """A process that nvidia-smi lists on a card; ``instance`` is None for one on the whole card."""

    pid: int
    instance: int | None
    name: str


_PROCESS = re.compile(r"\|\s+(\d+)\s+(\d+|N/A)\s+(\d+|N/A)\s+(\d+)\s+(\S+)\s+(\S.*?)\s+\S+\s*\|")


def parse_processes(text: str) -> list[UserLine]:
    """Processes of the table at the end of plain ``nvidia-smi``."""
    rows = _PROCESS.finditer(text.partition("Processes:")[2])
    return [UserLine(int(row[4]), int(row[2]) if row[2].isdigit() else None, row[6]) for row in rows]
