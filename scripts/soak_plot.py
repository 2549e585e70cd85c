"""Draw the samples of a soak: `python scripts/soak_plot.py docs/benchmarks/soak.csv` writes soak.svg there.

Needs the dependency group `bench`.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.soak_gauges import GAUGES, WARM_UP, Gauge, Sample, read_samples

_COLUMNS = 3
_COLOURS = ("#c2410c", "#475569")
_MINUTE_S = 60.0


def main() -> None:
    source = Path(sys.argv[1])
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "remotefs", "font.sans-serif": "DejaVu Sans"})
    draw(list(read_samples(source)), source.with_suffix(".svg"))


def draw(samples: list[Sample], target: Path) -> None:
    """A panel for each gauge, a line for each mount, a dotted one where a mount was taken away."""
    rows = -(-len(GAUGES) // _COLUMNS)
    whole, panels = plt.subplots(rows, _COLUMNS, figsize=(12, 2.1 * rows), layout="constrained", sharex=True)
    whole.suptitle("minutes; the first quarter is not judged", fontsize=9)
    for panel, gauge in zip(panels.flat, GAUGES, strict=False):
        draw_panel(panel, gauge, samples)
    panels.flat[0].legend(fontsize=8, loc="lower right", frameon=False)
    whole.savefig(target, metadata={"Date": None})


def draw_panel(panel: Axes, gauge: Gauge, samples: list[Sample]) -> None:
    end = max(sample.at_s for sample in samples) / _MINUTE_S
    panel.axvspan(0, end * WARM_UP, color="#f1f5f9", linewidth=0)
    for colour, name in zip(_COLOURS, sorted({sample.mount for sample in samples}), strict=True):
        own = [sample for sample in samples if sample.mount == name]
        points = [(sample.at_s / _MINUTE_S, sample.values[gauge.name]) for sample in own]
        panel.plot(*zip(*points, strict=True), color=colour, linewidth=1, label=f"mount {name}")
        for after in lives(own)[1:]:
            panel.axvline(after / _MINUTE_S, color=colour, linewidth=0.5, linestyle=":")
    panel.set_title(gauge.label, fontsize=9)
    panel.set_ylim(0, 1.1 * panel.get_ylim()[1])
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def lives(samples: list[Sample]) -> list[float]:
    """Return when each process of a mount was first seen, in seconds."""
    return [next(group).at_s for _, group in groupby(samples, key=lambda sample: sample.pid)]


if __name__ == "__main__":
    main()
