"""Writes what nvidia-smi measures as a text file for the node exporter's textfile collector."""

from __future__ import annotations

from pathlib import Path

from .smi import Smi

FIELDS = ("index", "uuid", "name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")
MEBIBYTE = 1024**2
# Field, metric, factor to the base unit, help.
METRICS = (
    ("utilization.gpu", "groundwork_gpu_utilization_ratio", 0.01, "Time in which a kernel ran; absent with MIG."),
    ("memory.used", "groundwork_gpu_memory_used_bytes", MEBIBYTE, "Memory in use."),
    ("memory.total", "groundwork_gpu_memory_total_bytes", MEBIBYTE, "Memory of the card."),
    ("temperature.gpu", "groundwork_gpu_temperature_celsius", 1, "Temperature of the card."),
    ("power.draw", "groundwork_gpu_power_watts", 1, "Power drawn."),
)


def render_metrics(smi: Smi) -> str:
    """Metrics of every card; what nvidia-smi does not know ([N/A]) is left out."""
    status, text = smi.run((f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"))
    rows = [[value.strip() for value in line.split(",")] for line in text.splitlines()]
    cards = [dict(zip(FIELDS, row, strict=True)) for row in rows if len(row) == len(FIELDS)]
    up = int(not status and bool(cards))
    lines = ["# HELP groundwork_gpu_up Whether the driver answers.", "# TYPE groundwork_gpu_up gauge"]
    lines.append(f"groundwork_gpu_up {up}")
    for field, metric, factor, text in METRICS:
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge"]
        for card in cards if up else ():
            try:
                value = float(card[field]) * factor
            except ValueError:
                continue
            labels = f'gpu="{card["index"]}",uuid="{card["uuid"]}",model="{card["name"]}"'
            lines.append(f"{metric}{{{labels}}} {value:g}")
    return "\n".join(lines) + "\n"


def write_metrics(smi: Smi, path: Path) -> None:
    """Replace the file in one step: the collector must not read half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text(render_metrics(smi))
    new.chmod(0o644)
    new.replace(path)
