"""Random steps on the file system without a kernel: what it shows is the model's, what the service has follows it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from remotefs.config import WritebackConfig
from tests.faults import faulty_server
from tests.model.harness import Harness, Portal
from tests.model.machine import TreeMachine, run

# Closing waits for the upload; what is due later is due at a drain only.
WAITING = WritebackConfig(
    empty_grace_s=1e6, temporary_grace_s=1e6, relabel_wait_s=1e6, settle_s=1e6, replace_downloadable=True
)
# Closing waits for nothing, and all is due at once: uploads and deletes run while the next steps do.
BUSY = WritebackConfig(
    durability="local", empty_grace_s=0, temporary_grace_s=0, relabel_wait_s=0, settle_s=0, replace_downloadable=True
)
# Closing waits for nothing, and nothing is uploaded before a drain.
LATE = WritebackConfig(
    durability="local",
    empty_grace_s=1e6, temporary_grace_s=1e6, relabel_wait_s=1e6, settle_s=1e6, replace_downloadable=True,
)  # fmt: skip
MODES = {"waiting": WAITING, "busy": BUSY, "late": LATE}


class MountMachine(TreeMachine):
    """With what happens to a mount."""

    knows_unreadable = True
    more = ("remount", "crash", "drain")

    def _do(self, verb: str, *arguments: Any) -> Any:
        if verb == "drain":
            # What is open for writing may not be what is to be uploaded.
            for slot in list(self.model.slots):
                super()._do("close", slot)
        outcome = super()._do(verb, *arguments)
        if verb == "drain":
            for subject in self.subjects:
                subject.assert_served(self.model)
        return outcome


def machine(scratch: Path, loop: Portal, writeback: WritebackConfig) -> type[MountMachine]:
    """Each example with a server and a state folder of its own."""

    class FileSystemMachine(MountMachine):
        def make_subjects(self) -> list[Any]:
            self._place = Path(tempfile.mkdtemp(dir=scratch))
            self._cleanup = ExitStack()
            self._cleanup.callback(shutil.rmtree, self._place)
            server = self._cleanup.enter_context(faulty_server(self._place / "server", uploads_downloadable=False))
            harness = Harness(self._place / "state", server, writeback, loop)
            self._cleanup.callback(harness.end)
            return [harness]

        def teardown(self) -> None:
            with self._cleanup:
                if not self.agreed:
                    return
                self.model.slots.clear()
                self.subjects[0].assert_nothing_leaks()
                self.subjects[0].assert_served(self.model)

    return FileSystemMachine


@pytest.mark.parametrize("mode", MODES)
def test_the_file_system_is_the_model(scratch: Path, loop: Portal, mode: str) -> None:
    run(machine(scratch, loop, MODES[mode]), examples=20, steps=50)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_the_file_system_is_the_model_for_long(scratch: Path, loop: Portal, mode: str) -> None:
    run(machine(scratch, loop, MODES[mode]), examples=340, steps=100, derandomize=False)
