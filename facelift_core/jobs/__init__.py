"""Jobs: long-running work for Blender and the command line, with requests and events as plain data.

handlers      the registry of job kinds, and the function that runs a job
reconstruct   reconstruct a head from a photo
cutout        remove the background of a photo
mesh          make a mesh of a head
weights       download, import, convert, verify and remove the released weights
runtime       install, repair and remove the runtime
worker        the process that runs jobs for programs without PyTorch
"""
