"""Draw what was measured beside the peers: `python scripts/plot.py docs/benchmarks/peers.json` writes peers.svg there.

Needs the dependency group `bench`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.peer_figures import Cost, Work, figure, unit
from scripts.peers import REMOTEFS

_WORKS = (Work.COLD, Work.WARM, Work.FOUR, Work.LARGE_WRITE, Work.FIRST, Work.SEEK, Work.SMALL, Work.LIST)
_COLUMNS = 4
_OURS, _OTHERS = "#c2410c", "#94a3b8"


def main() -> None:
    source = Path(sys.argv[1])
    measured = json.loads(source.read_text(encoding="utf-8"))
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "remotefs", "font.sans-serif": "DejaVu Sans"})
    draw(measured["machine"], measured["networks"], source.with_suffix(".svg"))


def draw(machine: dict[str, str], networks: dict[str, Any], target: Path) -> None:
    """A group of panels for each network, a panel for each work, a bar for each peer."""
    rows = len(_WORKS) // _COLUMNS
    whole = plt.figure(figsize=(12, 2.2 * rows * len(networks) + 0.6), layout="constrained")
    words = ", ".join([machine["date"], machine["processor"], machine["memory"], f"Linux {machine['kernel']}"])
    whole.suptitle(words, fontsize=9)
    groups = whole.subfigures(len(networks), squeeze=False)[:, 0]
    for group, (network, peers) in zip(groups, networks.items(), strict=True):
        group.suptitle(network, fontweight="bold")
        panels = group.subplots(rows, _COLUMNS, sharey=True).flat
        for panel, work in zip(panels, _WORKS, strict=True):
            draw_panel(panel, work, peers)
    whole.savefig(target, metadata={"Date": None})


def draw_panel(panel: Axes, work: Work, peers: dict[str, Any]) -> None:
    """Who has no figure has an empty row, so that each peer has the same one everywhere."""
    found = [figure(work, Cost(**costs[work])) if work in costs else 0.0 for costs in peers.values()]
    colours = [_OURS if name == REMOTEFS else _OTHERS for name in peers]
    bars = panel.barh(list(peers), found, color=colours)
    digits = 2 if unit(work) == "s" else 0
    panel.bar_label(bars, [f"{value:.{digits}f}" if value else "-" for value in found], padding=2)
    better = "more" if unit(work) == "MB/s" else "less"
    panel.set_title(f"{work.replace('`', '')}\n{unit(work)}, {better} is better", fontsize=8)
    panel.margins(x=0.2)
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    if not panel.yaxis_inverted():
        panel.invert_yaxis()


if __name__ == "__main__":
    main()
