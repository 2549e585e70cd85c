"""The parts of this room together, for callers that need several of them."""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.data.intents.binder import Binder
from remotefs.data.intents.due_times import DueTimes
from remotefs.data.intents.freed_ids import FreedIds
from remotefs.data.intents.garbage import Garbage
from remotefs.data.intents.left_behind import LeftBehind
from remotefs.data.intents.paths import InodePaths
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.intents.renamed_folders import RenamedFolders
from remotefs.data.intents.unlinker import Unlinker
from remotefs.data.intents.upload_options import UploadOptions


@dataclass(frozen=True)
class Intents:
    """What plans the intents of one mount; each part says what it is responsible for."""

    paths: InodePaths
    due_times: DueTimes
    garbage: Garbage
    freed_ids: FreedIds
    planner: IntentPlanner
    left_behind: LeftBehind
    renamed_folders: RenamedFolders
    unlinker: Unlinker
    binder: Binder
    upload_options: UploadOptions
