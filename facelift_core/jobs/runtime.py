"""Job: install, repair or remove the runtime. Needs only the standard library."""

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
    """Request to install, repair or remove the runtime.

    Attributes:
        do: one of :data:`STEPS`.
        folder: folder of the runtime; empty for the chosen folder or the user's data folder.
        python: the Python that creates the environment; empty for this one or one on the system.
        build: PyTorch build, "auto" or a name in :data:`facelift_core.environment.torch_build.BUILDS`.
        index_url, proxy: override pip's own settings if not empty.
        wheels: folder of wheels for an offline installation; empty to use a package index.
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
            raise FaceLiftError("This version of FaceLift does not understand the request.")

    def plan(self) -> install_plan.InstallPlan:
        """Plan the installation. Raises FaceLiftError if this machine, folder or Python cannot be used."""
        wheels = Path(self.wheels) if self.wheels else None
        sources = pip.Sources(self.index_url, self.proxy, wheels)
        folder, python = (Path(path) if path else None for path in (self.folder, self.python))
        return install_plan.plan_installation(folder, python, self.build, sources)


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Install, repair or remove the runtime.

    Raises:
        FaceLiftError: the job failed. Running the same request again resumes it.
        Cancelled: `cancelled` returned true.
    """
    if request.do == "remove":
        folder = Path(request.folder) if request.folder else location.chosen_folder()
        others = remove.uninstall(folder, lambda name: emit(Progress("remove", 0.5, f"Removing {name}")))
        return {"message": f"{folder} was removed.", "others": others}
    made = install.install(request.plan(), emit, cancelled, repair=request.do == "repair")
    return {"message": "PyTorch is installed and works.", "notes": list(made.notes)}
