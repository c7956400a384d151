"""A window of another program, at the screen's upper left, from which one can drag the file that is its argument."""

import sys
from pathlib import Path

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk

uri = Path(sys.argv[1]).resolve().as_uri()
window = Gtk.Window(title="files")
window.set_default_size(80, 40)
window.move(0, 0)
handle = Gtk.EventBox()
handle.add(Gtk.Label(label="file"))
handle.drag_source_set(Gdk.ModifierType.BUTTON1_MASK, [], Gdk.DragAction.COPY)
handle.drag_source_add_uri_targets()
handle.connect("drag-data-get", lambda _widget, _context, data, *_: data.set_uris([uri]))
window.add(handle)
window.show_all()
Gtk.main()
