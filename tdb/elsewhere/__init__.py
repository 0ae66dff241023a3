"""Training that goes on in another process, while the prompt stays where it is.

Going back in a script whose locals, iterators and counters nobody can put back means another process: one that takes
the run anew from its start, or a copy of this one that was set aside at an earlier step. The front, which has the
terminal, forwards lines to it and shows what it answers; all that is set up goes with the prompt.

    beginning.py       how a run began: what another process needs to begin it in the same way
    carried.py         what goes along with the prompt: settings, stop points, displays, branches
    known_branches.py  how the branches of a run went that are in no process: changes, losses, metrics
    channel.py         messages between the two processes, and an end with the front's end
    portable.py        answers as plain data
    serving.py         the other process: runs the lines that come, and sends what it would show
    arriving.py        the other process: runs to the step asked for, repeats the changes, compares what comes out
    on_the_way.py      the other process: asks the stop points at the steps on the way
    front_routes.py    the other process: routes that only the front can take
    way.py             the front: goes to other steps, and looks for them, in as many processes as it takes
    link.py            the front: forwards lines, shows answers, waits
    worker.py          a fresh process that takes a run anew
    rerun.py           the route of a fresh process
    forks.py           the route of a copy set aside
    keeper.py          the thread that trains: sets copies aside, and goes on in one that is woken
"""
