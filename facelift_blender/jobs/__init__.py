"""Reconstructing in the background: a thread, its worker process and the files they leave. No ``bpy`` in here.

runtime   which Python the worker runs in, and whether it can
process   the worker process as seen from here
runner    the thread, the queue of jobs, the events for the main thread
folders   where jobs keep their files; which heads nobody has imported yet
"""
