"""Long work in the background, the same way for heads, cut-outs, weights and the runtime.

queue             submit, poll; runs jobs in worker processes. No ``bpy``
timer             polls the queue while there is something to do, redraws the panels
bar               draws a job: its bar, its messages, *Cancel*
folders           where jobs keep their files; which heads nobody has imported yet. No ``bpy``
redraw_throttle   how often the panels are drawn meanwhile. No ``bpy``
"""
