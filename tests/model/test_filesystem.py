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
from tests.model.machine import MountMachine, run
from tests.sampling import sample

# Whatever may be put off is put off to a drain, or done at once.
_AT_A_DRAIN: dict[str, Any] = dict.fromkeys(
    ("empty_grace_s", "temporary_grace_s", "reupload_wait_s", "delete_wait_s", "upload_delay_s"), 1e6
)
_AT_ONCE: dict[str, Any] = dict.fromkeys(_AT_A_DRAIN, 0)
# Closing waits for the upload.
WAITING = WritebackConfig(replace_downloadable=True, **_AT_A_DRAIN)
# Closing waits for nothing: uploads and deletes run while the next steps do.
BUSY = WritebackConfig(durability="local", replace_downloadable=True, **_AT_ONCE)
# Closing waits for nothing, and nothing is uploaded before a drain.
LATE = WritebackConfig(durability="local", replace_downloadable=True, **_AT_A_DRAIN)
MODES = {"waiting": WAITING, "busy": BUSY, "late": LATE}


def machine(scratch: Path, loop: Portal, writeback: WritebackConfig) -> type[MountMachine]:
    """Each example with a server and a state folder of its own."""

    class FileSystemMachine(MountMachine):
        knows_unreadable = True

        def make_subjects(self) -> list[Any]:
            with ExitStack() as cleanup:
                place = Path(tempfile.mkdtemp(dir=scratch))
                cleanup.callback(shutil.rmtree, place)
                server = cleanup.enter_context(faulty_server(place / "server", uploads_downloadable=False))
                harness = Harness(place / "state", server, writeback, loop)
                cleanup.callback(harness.end)
                self._cleanup = cleanup.pop_all()
            return [harness]

        def teardown(self) -> None:
            with self._cleanup:
                if not self.agreed:
                    return
                self.model.slots.clear()
                self.subjects[0].assert_nothing_leaks()
                self.subjects[0].assert_served(self.model)

    return FileSystemMachine


@pytest.mark.parametrize("examples", sample(4, 12))
@pytest.mark.parametrize("mode", MODES)
def test_the_file_system_is_the_model(scratch: Path, loop: Portal, mode: str, examples: int) -> None:
    run(machine(scratch, loop, MODES[mode]), examples=examples, steps=50)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_the_file_system_is_the_model_for_long(scratch: Path, loop: Portal, mode: str) -> None:
    run(machine(scratch, loop, MODES[mode]), examples=340, steps=100, derandomize=False)
