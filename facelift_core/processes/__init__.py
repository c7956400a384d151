"""Child processes and the worker protocol. These modules need only the standard library.

launch     run this package in another Python; run child processes and read their output line by line
confined   read what others wrote in a process with limits of memory and time
protocol   the messages between a program and its worker
client     start a worker and talk to it
"""
