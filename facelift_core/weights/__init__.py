"""Weights: find, download, import, convert, verify and load them (docs/model.md, 1).

named          find weights by name: built-in, released, or a folder
layout         find the parts of a checkpoint in a folder
state_dict     load safetensors files and torch checkpoints safely
catalogue      data: the files of the released weights, their checksums and license
store          where the released weights are kept on this machine
inventory      which of them are present, which folder to load, and removal
licence        the license and its acceptance, required before any use
hub            list the files on the Hugging Face Hub; resumable download of one file
hub_connection requests to the hub, retries, and errors as sentences
download       download all files from the hub
import_files   import a folder or zip that was downloaded manually
convert        convert to half precision and embed the prompts, once
verify         verify checksums of the originals and of the converted files
byte_progress  progress of a transfer: bytes, speed, time left

Only ``hub`` and ``hub_connection`` need huggingface_hub, and only ``state_dict`` and what imports it (``convert``,
``layout``, ``named``) need PyTorch. The other modules run in Blender's own Python.
"""
