"""Nothing in the sidebar is cut off: the panels are drawn into a recorder of layouts, and each text is measured.

The recorder gives boxes, rows and splits the widths that Blender gives them in a sidebar of the default width, and
asks Blender's fonts how wide the text of each label, button and field is. Also: what the panel says, and in what order.
"""

import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from inspect import get_annotations
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import bpy  # isort: skip, for it makes the next importable
import addon_utils
from from_source import head, some_splats
from synthetic_rig import make_rig

NAME = "facelift_blender"
SIDEBAR, PANEL = 292.0, 236.0
"""Default width of a sidebar, and of its panels' content, in pixels at UI scale 1: measured in Blender 4.3 and 5.2."""
BOX, ICON, MARGIN, ARROW = 10.0, 20.0, 8.0, 20.0
"""What a box takes, an icon, a button beside its text on each side, and the arrow of a menu."""
NAMES, VALUES = 0.4, 0.6
"""Parts of a row for the name and the value of a property, if names stand beside values."""


@dataclass
class Shown:
    """Something with a text, and the width that it has in pixels at UI scale 1."""

    kind: str
    text: str
    width: float
    taken: float = 2 * MARGIN
    name: str = ""
    enabled: bool = True
    part: float = 1.0


@dataclass
class Layout:
    """Records what a panel draws, as far as our panels use layouts."""

    seen: list
    width: float
    kind: str = "column"
    split_names: bool = False
    parent: "Layout | None" = None
    cells: list = field(default_factory=list)
    on: bool = True
    opened: bool = True

    def __setattr__(self, name, value):
        own = {"use_property_split": "split_names", "enabled": "on"}
        if name in own:
            object.__setattr__(self, own[name], value)
        elif name in self.__dataclass_fields__:
            object.__setattr__(self, name, value)
        elif name not in ("use_property_decorate", "alert", "active", "scale_y", "scale_x", "alignment"):
            raise AttributeError(name)

    def _child(self, kind: str, width: float) -> "Layout":
        made = Layout(self.seen, width, kind, self.split_names, self, on=self.on, opened=self.opened)
        self.cells.append(made)
        return made

    def row(self, align=False):
        return self._child("row", self.width)

    def column(self, align=False):
        return self._child("column", self.width)

    def box(self):
        return self._child("box", self.width - BOX)

    def split(self, factor=0.5, align=False):
        return self._child(f"split {factor}", self.width)

    def separator(self, **_):
        pass

    def panel(self, name, default_closed=False):
        return self.row(), self._child("column", self.width) if self.opened else None

    def panel_prop(self, data, name):
        return self.row(), self._child("column", self.width) if getattr(data, name) else None

    def _show(self, kind: str, text: str, icon, taken: float = 2 * MARGIN, name: str = "", part: float = 1.0) -> None:
        taken += ICON if icon != "NONE" else 0.0
        shown = Shown(kind, text, self.width, taken, name, self._enabled(), part)
        self.cells.append(shown)
        self.seen.append(shown)

    @property
    def enabled(self) -> bool:
        return self.on

    def _enabled(self) -> bool:
        return self.on and (self.parent is None or self.parent._enabled())

    def label(self, text="", icon="NONE"):
        self._show("label", text, icon)

    def operator(self, name, text=None, icon="NONE", emboss=True, depress=False, **_):
        group, _, operator = name.partition(".")
        known = getattr(getattr(bpy.ops, group), operator).get_rna_type()
        self._show("operator", known.name if text is None else text, icon, name=name)
        return SimpleNamespace()

    def operator_menu_enum(self, name, property, text="", icon="NONE"):
        self._show("operator", text, icon, 2 * MARGIN + ARROW, name)
        return SimpleNamespace()

    def prop(self, data, name, text=None, icon="NONE", placeholder="", **_):
        rna = data.bl_rna.properties[name] if not name.startswith("[") else None
        label = (rna.name if rna is not None else text) if text is None else text
        value, taken = "", 2 * MARGIN
        if rna is not None and rna.type == "ENUM":
            identifier = getattr(data, name)
            items = _items(data, name)
            value, taken = next(label for key, label in items if key == identifier), 2 * MARGIN + ARROW
        elif rna is not None and rna.type == "STRING":
            value, taken = getattr(data, name) or placeholder, 2 * MARGIN + ARROW
        check = rna is not None and rna.type == "BOOLEAN"
        taken += ICON if check else 0.0
        if self.split_names and label:
            self._show("name", "" if check else label, "NONE", part=NAMES)
            self._show("value", label if check else value, "NONE", taken, name, VALUES)
        else:
            self._show("value", label if check or not value else value, icon, taken, name)

    def prop_search(self, data, name, *_, text="", **__):
        self.prop(data, name, text=text)

    def progress(self, factor=0.0, type="BAR", text=""):
        self._show("bar", text, "NONE")

    def template_icon(self, icon_value, scale=1.0):
        assert scale * ICON <= self.width, (scale, self.width)

    def template_icon_view(self, data, property, show_labels=False, scale=6.0, scale_popup=5.0):
        assert data.bl_rna.properties[property].type == "ENUM"
        self.template_icon(0, scale)


def _items(data, name: str) -> list[tuple[str, str]]:
    """Identifiers and labels of an enumeration, also of one whose items a function returns."""
    found = [(item.identifier, item.name) for item in data.bl_rna.properties[name].enum_items]
    if found and name != "preset":
        return found
    if name == "facelift_expression":
        return [item[:2] for item in import_module(f"{NAME}.animation.gallery")._all_items(data, bpy.context)]
    settings = import_module(f"{NAME}.reconstruct.settings")
    return [(key, label) for key, label, _ in settings._preset_items(data, bpy.context)]


def settle(layout: Layout) -> None:
    """Divide the width among the cells: in a row, what has no text is an icon, and the rest is shared."""
    small = [cell for cell in layout.cells if isinstance(cell, Shown) and not cell.text and cell.kind != "name"]
    share = (layout.width - ICON * len(small)) / max(1, len(layout.cells) - len(small))
    for number, cell in enumerate(layout.cells):
        if layout.kind == "row" and len(layout.cells) > 1 and getattr(layout.cells[0], "kind", "") != "name":
            cell.width = ICON if cell in small else share
        elif layout.kind.startswith("split"):
            factor = float(layout.kind.split()[1])
            cell.width = layout.width * (factor if number == 0 else 1 - factor)
        elif isinstance(cell, Shown):
            cell.width = layout.width * cell.part
        else:
            cell.width = layout.width - (BOX if cell.kind == "box" else 0)
        if isinstance(cell, Layout):
            settle(cell)


def drawn(panel: str, scale: float = 1.0, opened: bool = True) -> list[Shown]:
    """What a panel shows, with the width that each text has."""
    cls = getattr(bpy.types, panel)
    layout = Layout([], PANEL, opened=opened)
    context = context_at(scale)
    assert not hasattr(cls, "poll") or cls.poll(context)
    cls.draw(SimpleNamespace(layout=layout, bl_label=cls.bl_label), context)
    settle(layout)
    return layout.seen


class Like:
    """As `other`, except for what is given."""

    def __init__(self, other, **given):
        self.__dict__.update(given, _other=other)

    def __getattr__(self, name):
        return getattr(self._other, name)


def context_at(scale: float) -> Like:
    """Blender's context, in a sidebar at a UI scale; without a window, Blender's own scale is 0."""
    system = Like(bpy.context.preferences.system, ui_scale=scale)
    preferences = Like(bpy.context.preferences, system=system)
    return Like(bpy.context, preferences=preferences, region=SimpleNamespace(width=SIDEBAR * scale))


def check_fits(shown: list[Shown], where: str) -> None:
    layout = import_module(f"{NAME}.layout")
    context, scale = context_at(_scale), _scale
    needs = [(item, layout.text_width(item.text, context) / scale + item.taken) for item in shown if item.text]
    wide = [(item.text, round(need), round(item.width)) for item, need in needs if need > item.width + 1]
    assert not wide, f"cut off in {where} at UI scale {scale}: {wide}"


def texts(shown: list[Shown]) -> list[str]:
    return [item.text for item in shown if item.text]


@contextmanager
def state_of_runtime(**values):
    """As if PyTorch were in this state."""
    module = import_module(f"{NAME}.setup.runtime_state")
    kept = module.current
    module.current = lambda _: module.State(**values)
    try:
        yield
    finally:
        module.current = kept


def session():
    return import_module(f"{NAME}.reconstruct.session").session


def a_job(title: str, state: str, **values):
    module = import_module(f"{NAME}.jobs.job")
    request = import_module("facelift_core.jobs.reconstruct").Request("a.jpg", str(Path(sys.argv[-1])))
    job = module.Job("reconstruct", title, request, module.WorkerSettings(Path("python")))
    job.state, job.started, job.ended = state, 10.0, 55.0
    for name, value in values.items():
        setattr(job, name, value)
    return job


DONE = {"gaussians": 128_000, "device": "cpu", "timings": {"load": 3.6, "views": 23.3}, "photo": "a.jpg", "notes": []}


def everything():
    """Each state of the panels, by name."""
    own = bpy.context.scene.facelift
    with state_of_runtime(
        text="PyTorch is not installed.", icon="ERROR", problems=("One-time setup: FaceLift needs PyTorch (0.4 GB).",)
    ):
        yield "offline", drawn_now("FACELIFT_PT_reconstruct")
    with state_of_runtime(text="ready", icon="CHECKMARK", ready=True):
        yield "empty", drawn_now("FACELIFT_PT_reconstruct")
        durations = import_module("facelift_core.jobs.durations")
        request = import_module("facelift_core.jobs.reconstruct").Request
        for preset, seconds in (("quality", 5400.0), ("balanced", 5400.0), ("fast", 5400.0)):
            durations.remember(request("a", "b", "mini", preset=preset), {"views": seconds}, loaded=False)
        own.photo = os.environ["TEST_PHOTO"]
        for own.preset in ("QUALITY", "BALANCED", "FAST", "CUSTOM"):
            yield f"photo, {own.preset}", drawn_now("FACELIFT_PT_reconstruct")
        own.preset = "QUALITY"
        session().results = [
            a_job("portrait", "done", result=DONE),
            a_job("anna", "cancelled"),
            a_job("ben", "failed", error="No face was found in ben.jpg; choose a photo that shows a face."),
        ]
        yield "results", drawn_now("FACELIFT_PT_reconstruct")
        session().results = session().results[2:]
        yield "failed", drawn_now("FACELIFT_PT_reconstruct")
    session().results = []
    jobs = import_module(f"{NAME}.jobs.timer").jobs
    usual = import_module(f"{NAME}.jobs.job").Usual(0.0, 3599.0)
    for kind, title in (("runtime", "Installing PyTorch"), ("weights", "Downloading weights"), ("reconstruct", "anna")):
        running = a_job(
            title, "running", kind=kind, started=time.monotonic() - 3590, usual=usual, message="Step 15 of 50"
        )
        waiting = a_job("ben", "waiting")
        jobs.jobs = [running, waiting]
        with state_of_runtime(text="ready", icon="CHECKMARK", ready=True):
            shown = drawn_now("FACELIFT_PT_reconstruct")
        assert any("59 min 50 s elapsed" in text for text in texts(shown)), texts(shown)
        yield title, shown
    jobs.jobs = []
    head(location=(0, 0, 0))
    yield "splats", drawn_now("FACELIFT_PT_splats")
    yield "no face", drawn_now("FACELIFT_PT_pose")
    import_module(f"{NAME}.animation.rigs").insert(make_rig(), bpy.context.object)
    panels = import_module(f"{NAME}.animation.panel").CLASSES
    assert sum(len(drawn_now(cls.bl_idname)) for cls in panels[1:]) == 52
    for cls in panels:
        yield f"face, {cls.bl_label}", drawn_now(cls.bl_idname)


_scale = 1.0


def drawn_now(panel: str) -> list[Shown]:
    return drawn(panel, _scale)


def test_nothing_is_cut_off():
    global _scale
    for _scale in (1.0, 1.5):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        enable()
        for name, shown in everything():
            check_fits(shown, name)


def test_offline_comes_first_and_what_cannot_work_is_gray():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    enable()
    assert not bpy.app.online_access
    with state_of_runtime(text="", icon="ERROR", problems=("One-time setup: FaceLift needs PyTorch (0.4 GB).",)):
        shown = drawn("FACELIFT_PT_reconstruct")
    buttons = [item for item in shown if item.kind == "operator"]
    assert [item.name for item in buttons[:3]] == [
        "extensions.userpref_allow_online", "facelift.install_runtime", "facelift.choose_runtime",
    ]  # fmt: skip
    assert [item.enabled for item in buttons[:3]] == [True, False, True]
    assert "online" in texts(shown)[0], texts(shown)[:3]


def test_presets_tell_what_they_took_here():
    own = bpy.context.scene.facelift
    durations = import_module("facelift_core.jobs.durations")
    request = import_module("facelift_core.jobs.reconstruct").Request
    durations.remember(
        request("a", "b", "mini", likeness="off"), {"load": 9.0, "views": 44.0, "skin": 1.2}, loaded=True
    )
    own.likeness = "off"
    labels = dict(_items(own, "preset"))
    assert labels["QUALITY"] == "Best (45 s)" and labels["BALANCED"] == "Balanced", labels
    own.likeness = "photo"
    for name in ("FAST", "BALANCED", "CUSTOM", "QUALITY"):
        own.preset = name
        assert own.preset == name


def test_results_stay_until_they_are_dismissed():
    with state_of_runtime(text="", icon="CHECKMARK", ready=True):
        session().results = [a_job(name, "done", result=DONE) for name in ("c", "b", "a")]
        shown = texts(drawn("FACELIFT_PT_reconstruct"))
        assert [text for text in shown if text.endswith(", 45 s")] == ["c, 45 s", "b, 45 s", "a, 45 s"], shown
        assert bpy.ops.facelift.dismiss_result(job=session().results[1].id) == {"FINISHED"}
        assert [job.title for job in session().results] == ["c", "a"]
        operator = bpy.types.FACELIFT_OT_result_details
        said = operator.description(bpy.context, SimpleNamespace(job=session().results[0].id))
        assert "128,000 splats, made on the CPU" in said and "Drawing six views: 23.3 s" in said, said
        assert bpy.ops.facelift.dismiss_result() == {"FINISHED"} and [job.title for job in session().results] == ["c"]
        session().results = []


def own_classes():
    """Our classes, and their properties."""
    for part in import_module(f"{NAME}.addon").PARTS:
        for cls in part.CLASSES:
            rna = cls.bl_rna
            if issubclass(cls, bpy.types.Operator):
                group, _, name = cls.bl_idname.partition(".")
                rna = getattr(getattr(bpy.ops, group), name).get_rna_type()
            names = {name for base in cls.__mro__ for name in get_annotations(base)}
            yield cls, [prop for prop in rna.properties if prop.identifier in names and not prop.is_hidden]


def test_every_mode_says_when_to_use_it():
    """Items of our enumerations have descriptions of their own, which differ."""
    seen = 0
    for cls, own in own_classes():
        for prop in own:
            if prop.type != "ENUM" or (cls.__name__, prop.identifier) == ("FACELIFT_OT_install_runtime", "build"):
                continue
            about = [item.description for item in prop.enum_items]
            seen += bool(about)
            assert all(about) and len(set(about)) == len(about), (cls.__name__, prop.identifier, about)
    assert seen >= 6, seen


def test_what_a_person_reads():
    """No string of the interface has a word of programmers, and names are in title case."""
    bad = ("terminal", "pip ", "runtime", "checkpoint", "stdout", "traceback", "diffusion step")
    lower = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"}
    count = 0
    for cls, own in own_classes():
        known = [cls.__doc__ or "" if issubclass(cls, bpy.types.Operator) else "", *(prop.description for prop in own)]
        for prop in own:
            if prop.type == "ENUM":
                known += [text for item in prop.enum_items for text in (item.name, item.description)]
        for text in known:
            count += bool(text)
            assert not any(word in text.lower() for word in bad), (cls.__name__, text)
            assert not text.endswith("."), ("Blender adds the full stop", cls.__name__, text)
        for title in (getattr(cls, "bl_label", ""), *(prop.name for prop in own)):
            words = title.replace("…", "").replace("(min)", "").split()
            small = [word for word in words[1:] if word[0].islower() and word not in lower]
            assert not small or title.startswith(("I have read", "FaceLift:")), (cls.__name__, title)
    assert count > 100, count


def enable() -> None:
    assert addon_utils.enable(NAME, default_set=True) is not None


enable()
some_splats()
tests = [(name, test) for name, test in list(globals().items()) if name.startswith("test_")]
for name, test in tests:
    print("--", name, flush=True)
    test()
print(f"ALL GOOD {len(tests)}", flush=True)
