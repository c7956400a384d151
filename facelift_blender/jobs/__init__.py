"""Long work in the background, the same way for heads, cut-outs, weights and the runtime.

queue             submit, poll, cancel
job, lane         one job; a thread that gives jobs to one worker process
timer             polls the queue while there is something to do, redraws the panels
bar               draws a job: its bar, its messages, *Cancel*
folders           where jobs keep their files; which heads nobody has imported yet
redraw_throttle   how often the panels are drawn meanwhile

Only ``timer`` and ``bar`` need ``bpy``.
"""
