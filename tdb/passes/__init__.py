"""The batches of a loop over `controller.steps(...)`, drawn so that each can be given again when training goes back.

    draws.py     which random generators have been drawn from, cheaply
    sources.py   one pass over the batches: by index, by a sampler's recorded indices, or kept as they came
    seams.py     what the loop itself did between two passes
    data.py      LoopData: what a checkpoint notes of all that, and how far back it leads
    passes.py    Passes: where a branch of the run is in its data, and the batches from there on

A loop's own frame cannot be put back, so its `for` statement does not end while known passes are taken again: the
batches of an earlier pass come through the pass that the loop is in, and what the loop did between passes is done to
the training state instead.
"""
