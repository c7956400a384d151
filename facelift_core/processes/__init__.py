"""Other Python processes. Nothing in here needs more than Python's own library.

launch     starting another Python with this package in it; child processes whose lines are read as they come
protocol   what a program and its worker tell each other
client     the worker as the program that started it sees it
"""
