"""What was aimed for beside the peers, each as one figure of a run and its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.peer_figures import CURL, Cost, Work, figure
from scripts.peers import RCLONE, RCLONE_FULL, REMOTEFS, Network
from scripts.report import Row

# What each work cost each peer.
Figures = dict[str, dict[Work, Cost]]


@dataclass(frozen=True)
class Aim:
    """A figure that should be at least, or at most, its bound."""

    words: str
    bound: float
    figure: Callable[[Figures], float]
    at_most: bool = False

    def row(self, figures: Figures) -> Row | None:
        """None: a peer that it compares with is not there."""
        try:
            found = self.figure(figures)
        except KeyError:
            return None
        met = found <= self.bound if self.at_most else found >= self.bound
        return self.words, f"{'at most' if self.at_most else 'at least'} {self.bound:g}", f"{found:.2f}", _WORDS[met]


_WORDS = {True: "met", False: "**not met**"}


def rows(network: Network, figures: Figures) -> list[Row]:
    """One for each aim of this network whose peers are there."""
    aims = _far(network.rtt_ms) if network.rtt_ms else _NEAR
    return [row for aim in aims if (row := aim.row(figures)) is not None]


def _rate(work: Work, other: str, other_work: Work | None = None) -> Callable[[Figures], float]:
    """How many times as fast as another; of works that are rates."""
    return lambda figures: (
        figure(work, figures[REMOTEFS][work]) / figure(other_work or work, figures[other][other_work or work])
    )


def _trips(work: Work, rtt_ms: float) -> Callable[[Figures], float]:
    return lambda figures: figure(work, figures[REMOTEFS][work]) / rtt_ms


def _one_after_another(figures: Figures) -> float:
    return figures[CURL][Work.SMALL].seconds / figures[REMOTEFS][Work.SMALL].seconds


def _second_pass(figures: Figures) -> float:
    return figures[REMOTEFS][Work.SMALL_AGAIN].requests or 0


def _far(rtt_ms: float) -> list[Aim]:
    return [
        Aim("cold read, times rclone's default mount", 5, _rate(Work.COLD, RCLONE)),
        Aim("cold read, times eight ranges by curl", 0.8, _rate(Work.COLD, CURL, Work.EIGHT_RANGES)),
        Aim("cold read after looks at others, times one without", 0.8, _rate(Work.AFTER_LOOKS, REMOTEFS, Work.COLD)),
        Aim("cold read beside a paused reader, times one alone", 0.8, _rate(Work.BESIDE_PAUSED, REMOTEFS, Work.COLD)),
        Aim("first 4 KiB, round trips", 1.5, _trips(Work.FIRST, rtt_ms), at_most=True),
        Aim("a seek to the middle, round trips", 2, _trips(Work.SEEK, rtt_ms), at_most=True),
        Aim("cold small files, times one after another by curl on one connection", 5, _one_after_another),
        Aim("requests of a second pass over them", 0, _second_pass, at_most=True),
    ]


_NEAR = [
    Aim("cold read, times rclone's mount with its cache", 1, _rate(Work.COLD, RCLONE_FULL)),
    Aim("cold read, times one curl", 0.25, _rate(Work.COLD, CURL)),
    Aim("warm read, every page dropped, times rclone's with its cache", 1, _rate(Work.DISK, RCLONE_FULL)),
    Aim("warm read, the mount's pages dropped, times rclone's with its cache", 1, _rate(Work.WARM, RCLONE_FULL)),
    Aim("requests of a second pass over small files", 0, _second_pass, at_most=True),
]
