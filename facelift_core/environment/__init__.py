"""Install, check, repair and remove the runtime: the Python environment with PyTorch that FaceLift computes in.

These modules need only the standard library, because Blender's own Python has nothing else.

machine       detect the system, the graphics card and its driver
torch_build   choose the PyTorch build for a machine; download and disk sizes
pins          versions of the dependencies
pythons       find a Python to create the environment with
location      the runtime folder and its marker file
install_plan  what an installation will do, shown before it starts
install       install and repair
pip           run pip: progress, and its errors as sentences
damage        find damaged packages
wheelhouse    find wheels missing from a local folder
smoke_test    a tiny reconstruction that proves the runtime works
check         check whether a Python can run FaceLift, and what it lacks
remove        uninstall
"""
