"""Long work for other programs: what is asked for and what is told about it, as plain data.

protocol      requests and events as JSON
reconstruct   a photo to a head
cutout        a photo to a portrait without its background
weights       the released weights: download, import, convert, verify, remove
worker        the process that does all of it, for programs without PyTorch
"""
