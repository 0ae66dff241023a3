"""Time travel: going back to a step, replaying it exactly, and trying something else from there.

    state.py          what training consists of, copied and put back in place; optimizers.py, snapshot.py: parts of that
    slots.py          memory for copies: taken up again, and shared where nothing has changed
    checkpoints.py    the copies that are kept, within a budget: half of it even, half dense toward the present
    held.py           states of any shape, taken apart into tensors and what is around them
    files.py          a copy in a file, plain.py what is no tensor in it as JSON; spill.py a folder of those
    exchange.py       going on from a file
    reach.py          what of a loop can be gone back to, and why not
    taking.py         when a copy is taken; pace.py how seldom, to cost next to nothing
    copies.py         copies of where training stands, and what stop points remember there
    known.py          what history knows of steps that are taken again: each is compared with it
    replay.py         how far they are taken again, and why training stops there
    course.py         which boundary of which branch the loop is at: along what is known, or on from its end
    traveller.py      Traveller: the training thread's side of all this
    route.py          the ways to another step, and why one cannot be taken
    in_place.py       the way for loops whose state tdb can put back
    branches.py       what is tried from a step, kept apart; edits.py, compare.py: what was changed, where it differs

A step is never looked up: it is taken again. From the nearest checkpoint before it the loop runs on, at full speed,
with every loss and every recorded metric compared bit for bit with history, and arrives at the step's boundary with
everything captured as it was the first time.
"""
