"""The authors' released weights: from their place on the hub to a folder that loads quickly (docs/model.md, 1).

catalogue   which files of which revision, their checksums and licence: data
store       where they lie on this machine, what is there of them, removing them
licence     the acceptance without which nothing is downloaded, converted or used
hub         one file from a server that speaks the Hugging Face hub's protocol, resumable
download    all files from the hub
importing   or from a folder or zip that somebody has downloaded by hand
convert     once, to half precision with the prompts embedded
verify      checksums, of originals and of what the conversion made
job         the whole way as one job, told about in plain data

Only ``hub`` needs huggingface_hub and only ``convert`` needs PyTorch: the rest runs in Blender's own Python.
"""
