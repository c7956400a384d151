"""Background jobs: one queue for heads, cut-outs, weights and the runtime.

queue             submit, poll and cancel jobs
job, lane         a job; a thread that passes jobs to one worker process
timer             polls the queue while jobs are active and redraws the panels
bar               draws a job: progress bar, messages and *Cancel*
folders           where jobs keep their files, and which heads have not been imported yet
redraw_throttle   limits how often the panels are redrawn

Only ``timer`` and ``bar`` need ``bpy``.
"""
