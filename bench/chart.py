# mypy: disable-error-code="import-not-found,import-untyped,no-any-unimported,unused-ignore"
"""The chart: `python -m bench.chart RESULTS.json TARGET.png …` (needs matplotlib, so it runs in .venv-bench)."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

COLOURS = {
    "s3proxy": "#1f6feb",
    "s3proxy form": "#79b8ff",
    "nginx": "#2da44e",
    "original": "#d1242f",
    "original form": "#d1242f",
    "aws s3 cp": "#bf8700",
    "boto3 loop": "#8250df",
}
OTHER = "#8c959f"
FOR_SCALE = {"no proxy", "nginx 256k"}
_BULK = ("download-http", "upload-http", "download-https", "upload-https")
_PANELS = (
    ("cpu_per_gib", "CPU seconds per GiB (less is better)", _BULK),
    ("wall", "seconds on the clock (less is better)", ("download-http", "upload-http")),
    ("rate", "requests per second, 1 KiB, one process (more is better)", ("get-1k", "put-1k")),
)


def draw(found: dict[str, Any], targets: list[Path]) -> None:
    """Draw every panel that has figures."""
    panels = [(title, groups) for metric, title, cases in _PANELS if (groups := _groups(found, metric, cases))]
    if not panels:
        return
    heights = [sum(len(bars) + 1 for _, bars in groups) for _, groups in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 0.24 * sum(heights) + 0.9 * len(panels)), height_ratios=heights, squeeze=False
    )
    for axis, (title, groups) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, title, groups)
    machine = found["machine"]
    facts = f"{machine['made'][:10]}, {machine['processor']}, {machine['cores']} cores, objects of {found['bulk']}"
    figure.suptitle(f"s3proxy {machine['commit'][:9]}: {facts}{', quick run' if found['quick'] else ''}", fontsize=9)
    figure.tight_layout()
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=120)


def _groups(found: dict[str, Any], metric: str, cases: tuple[str, ...]) -> list[tuple[str, dict[str, float]]]:
    """(case, value by contender) in the order of `cases`; what is there for scale only is left out."""
    groups = []
    for case in cases:
        hidden = FOR_SCALE | ({"nginx"} if metric == "rate" else set())  # it signs nothing: another order of magnitude
        rows = [row for row in found["rows"] if row["case"] == case and metric in row["medians"]]
        bars = {row["contender"]: row["medians"][metric] for row in rows if row["contender"] not in hidden}
        if bars:
            groups.append((case, bars))
    return groups


def _panel(axis: Any, title: str, groups: list[tuple[str, dict[str, float]]]) -> None:
    places, labels, values, colours = [], [], [], []
    place = 0
    for case, bars in groups:
        for contender, value in bars.items():
            places.append(place)
            labels.append(f"{case}  {contender}")
            values.append(value)
            colours.append(COLOURS.get(contender, OTHER))
            place += 1
        place += 1
    drawn = axis.barh(places, values, color=colours)
    axis.bar_label(drawn, fmt="{:,.2f}" if max(values) < 100 else "{:,.0f}", padding=3, fontsize=8)
    axis.set_yticks(places, labels, fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(title, fontsize=10, loc="left")
    axis.margins(x=0.12, y=0.02)
    axis.invert_yaxis()
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), [Path(name) for name in sys.argv[2:]])
