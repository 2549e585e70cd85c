"""The end of a soak: once the service is well, both mounts drain, agree with each other, and have lost nothing."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.soak_weather import GIVEN
from scripts.soak_work import SHARED, Giver, Journal, SharedWriter, Site, Twins
from tests.mount.support import remotefs

_DRAIN_S = 600
# Two complete listings, and the walk of all, after the last change.
_AGREE_S = 420.0
_LOOK_S = 5.0
_SHOWN = 12


@dataclass(frozen=True)
class Entry:
    """A file of a mount as the service has it; `is_alias`: its path here is not the one that its remote name says."""

    path: str
    size: int
    is_alias: bool


@dataclass
class End:
    """Looks at two sites at the end; what is wrong becomes findings of the journal."""

    sites: Sequence[Site]
    journal: Journal

    def drain(self) -> None:
        """Wait until the service has all changes of both mounts."""
        for site in self.sites:
            began = time.monotonic()
            remotefs("retry", site.mount.path, env=site.mount.env)
            arguments = ("flush", site.mount.path, "--timeout", f"{_DRAIN_S}s")
            done = remotefs(*arguments, env=site.mount.env, timeout=_DRAIN_S + 60)
            self.journal.say(f"{site.name} drained within {time.monotonic() - began:.0f} s: {done.returncode}")
            if done.returncode:
                self.journal.find(f"{site.name} does not drain: {done.stderr[-2000:]}")

    def agree(self) -> None:
        """Wait until both trees show the same files at the same paths, aliases aside."""
        end = time.monotonic() + _AGREE_S
        while (differences := self._differences()) and time.monotonic() < end:
            time.sleep(_LOOK_S)
        for difference in differences[:_SHOWN]:
            self.journal.find(difference)
        if len(differences) > _SHOWN:
            self.journal.find(f"… and {len(differences) - _SHOWN} more differences between the trees")
        if not differences:
            aliases = {site.name: sorted(e.path for e in listed(site).values() if e.is_alias) for site in self.sites}
            files = len(listed(self.sites[0]))
            self.journal.say(f"both trees agree on {files} files; aliases: {aliases}")

    def _differences(self) -> list[str]:
        one, two = self.sites
        ours, theirs = listed(one), listed(two)
        found = [f"only {one.name} shows {ours[i].path} ({i})" for i in ours.keys() - theirs.keys()]
        found += [f"only {two.name} shows {theirs[i].path} ({i})" for i in theirs.keys() - ours.keys()]
        for file_id in ours.keys() & theirs.keys():
            a, b = ours[file_id], theirs[file_id]
            if a.size != b.size or (a.path != b.path and not (a.is_alias or b.is_alias)):
                found.append(f"{file_id} is {a} for {one.name} and {b} for {two.name}")
        return found

    def compare_readable(self, twins: Sequence[Twins]) -> int:
        """Compare each worker's files with those that the other mount can read; return how many it could."""
        readable = 0
        for worker in twins:
            other = next(site for site in self.sites if site is not worker.site)
            ours, _ = worker.site.pair(worker.folder)
            seen = other.mount.path / ours.relative_to(worker.site.mount.path)
            for path in (p for p in ours.rglob("*") if p.is_file() and not p.is_symlink()):
                with suppress(PermissionError, FileNotFoundError):
                    if (seen / path.relative_to(ours)).read_bytes() != path.read_bytes():
                        self.journal.find(f"{path} is otherwise at {other.name}")
                    readable += 1
        return readable

    def check(self) -> None:
        """Let each mount check itself."""
        for site in self.sites:
            done = remotefs("check", site.mount.path, env=site.mount.env, timeout=600)
            self.journal.say(f"{site.name}: check: {done.returncode} {done.stdout.strip()[-200:]}")
            if done.returncode:
                self.journal.find(f"{site.name}: check finds {(done.stdout + done.stderr)[-3000:]}")
            if "Traceback" in site.mount.log():
                self.journal.find(f"{site.name}: the log has a traceback, of {_raised(site.mount.log())}")

    def shared(self, writers: Sequence[SharedWriter]) -> None:
        """The last content that was acknowledged for each shared name is there, under it or as a conflict copy (W8)."""
        contents = {content for site in self.sites for content in readable_in(site.mount.path / SHARED)}
        for name in sorted({name for writer in writers for name in writer.written}):
            closes = [writer.written[name] for writer in writers if name in writer.written]
            last_began = max(began for began, _, _ in closes)
            # Whoever was done before the other began may have been replaced; who was at it at the same time may not.
            for began, done, content in closes:
                if done >= last_began and content not in contents:
                    self.journal.find(f"{SHARED}/{name}: the last content, written at {began:.0f}, is nowhere")

    def given(self, givers: Sequence[Giver]) -> None:
        """Each file of which others removed some is at its place or in the trash (S2)."""
        for giver in givers:
            folder, state = giver.site.mount.path / GIVEN, giver.site.mount.state
            trashed = set(readable_in(state / "trash"))
            in_trash = 0
            for name, content in (giver.given | giver.removed).items():
                path = folder / name
                if path.exists() and path.read_bytes() == content:
                    continue
                in_trash += content in trashed
                if content not in trashed:
                    self.journal.find(f"{giver.site.name}: {GIVEN}/{name} is neither there nor in the trash")
            self.journal.say(
                f"{giver.site.name}: of {len(giver.given | giver.removed)} given files {in_trash} are in the trash"
            )


def _raised(log: str) -> str:
    """Return the error that the first traceback of a log ends with; its lines are indented below that of its record."""
    _, _, after = log.partition("Traceback")
    lines = after.splitlines()[1:]
    ends = (number for number, line in enumerate(lines) if not line.startswith("  "))
    return lines[next(ends, len(lines)) - 1].strip()


def listed(site: Site) -> dict[str, Entry]:
    """Return the files of a mount that the service has, by id."""
    return {
        file_id: entry for path in _walk(site.mount.path) if (found := _entry(site, path)) for file_id, entry in [found]
    }


def _entry(site: Site, path: Path) -> tuple[str, Entry] | None:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return None
        file_id = os.getxattr(path, "user.remotefs.id").decode()
        is_alias = "alias" in os.getxattr(path, "user.remotefs.state").decode()
    except OSError:
        # It has gone meanwhile, or the service does not have it.
        return None
    return file_id, Entry(str(path.relative_to(site.mount.path)), status.st_size, is_alias)


def _walk(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)


def readable_in(folder: Path) -> Iterator[bytes]:
    """Yield the content of each file of a folder that can be read."""
    for path in folder.iterdir() if folder.exists() else ():
        with suppress(OSError):
            yield path.read_bytes()
