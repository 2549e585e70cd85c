from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.herd import Herd
from tests.crash.power import ForgetfulDisk


@pytest.fixture(scope="session")
def herd() -> Iterator[Herd]:
    herd = Herd()
    yield herd
    herd.close()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgetfulDisk]:
    disk = ForgetfulDisk(tmp_path_factory.mktemp("disk"))
    yield disk
    disk.close()
