"""The model says what the kernel's own file system does: otherwise it proves nothing."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.model.folder import Folder
from tests.model.machine import TreeMachine, run
from tests.sampling import sample


@pytest.mark.root("random steps that need every right")
@pytest.mark.parametrize("examples", sample(12, 40))
def test_the_model_is_what_the_kernel_does(tmp_path: Path, examples: int) -> None:
    numbers = itertools.count()

    class Plain(TreeMachine):
        def make_subjects(self) -> list[Any]:
            root = tmp_path / str(next(numbers))
            root.mkdir(mode=0o755)
            return [Folder(root)]

        def teardown(self) -> None:
            self.subjects[0].close_all()
            shutil.rmtree(self.subjects[0].root)

    run(Plain, examples=examples, steps=50)
