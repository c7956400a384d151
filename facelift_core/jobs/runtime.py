"""Installing, repairing or removing the runtime as a job. Needs nothing but Python's own library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environment import install, install_plan, location, pip, remove
from ..errors import FaceLiftError
from ..processes.protocol import Emit, Progress
from ..progress import Cancel

STEPS = ("install", "repair", "remove")


@dataclass(frozen=True)
class Request:
    """What to do with the runtime.

    Attributes:
        do: one of :data:`STEPS`.
        folder: where it is or will be; empty: the chosen folder, or the user's data folder.
        python: that makes the environment, for "install"; empty: this one, or one of the system's.
        build: of PyTorch: "auto" or a name of :data:`facelift_core.environment.torch_build.BUILDS`.
        index_url, proxy: in place of pip's own settings.
        wheels: folder to install from without internet.
    """

    do: str
    folder: str = ""
    python: str = ""
    build: str = "auto"
    index_url: str = ""
    proxy: str = ""
    wheels: str = ""

    def __post_init__(self) -> None:
        if self.do not in STEPS:
            raise FaceLiftError("The request is not one that this version of FaceLift understands.")

    def plan(self) -> install_plan.Plan:
        """Raises FaceLiftError: this machine, folder or Python will not do."""
        wheels = Path(self.wheels) if self.wheels else None
        sources = pip.Sources(self.index_url, self.proxy, wheels)
        folder, python = (Path(path) if path else None for path in (self.folder, self.python))
        return install_plan.make_plan(folder, python, self.build, sources)


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Do what `request` says.

    Raises:
        FaceLiftError: one sentence on what went wrong; the same request goes on from there.
        Cancelled: `cancelled` answered true.
    """
    if request.do == "remove":
        folder = Path(request.folder) if request.folder else location.chosen_folder()
        others = remove.uninstall(folder, lambda name: emit(Progress("remove", 0.5, f"Removing {name}")))
        return {"message": f"{folder} was removed.", "others": others}
    made = install.install(request.plan(), emit, cancelled, repair=request.do == "repair")
    return {"message": "The runtime is installed and works.", "notes": list(made.notes)}
