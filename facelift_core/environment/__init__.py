"""The Python environment with PyTorch in which FaceLift computes: made, checked, repaired, removed.

Nothing in here needs more than Python's own library, because Blender's Python has no more.

machine     what is in this machine: system, graphics card, driver
builds      the build of PyTorch for it, with its size
pins        which versions of what
pythons     a Python to make the environment with
location    where it is; the file that tells whether it is whole
launch      starting another Python with this package in it; child processes
pip         running pip: progress, and its errors as sentences
damage      which installed packages are not whole
wheelhouse  which wheels a folder lacks
trial       a tiny reconstruction, as proof
plan        what an installation would do, before anyone agrees to it
install     all of it in order; repair
remove      taking it away again
check       whether some Python will do, and what it lacks
"""
