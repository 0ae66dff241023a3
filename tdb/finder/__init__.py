"""Finding the training loop of a script that has never heard of tdb.

What torch does while the script runs comes as events (`events`), as do the batches that it draws (`tdb.tap`). Of each
`follower` asks whose doing it is (`loop_thread`), keeps what it shows of the step under way (`seen`: its `batches`,
`losses` and `updates`), and asks whether it ends that (`ends`: as `steps` has learned it, or `by_hand`). A complete
step goes to the controller as an explicit loop's would (`hand_over`); one that is like the last takes a short way
there (`steady`). What is trained follows from the optimizers that were built (`discovery`, `models`, `optimizers`);
its calls are listened to (`hearing`). On request its batches come so that they can be given again (`feed`). Where a
script says itself where its steps end, only what it trains is found (`onlooker`).

`finder` puts all that on when torch has been imported, by whomever (`arrival`), and says so when the script starts
processes (`children`).
"""

from tdb.finder.finder import Finder

__all__ = ["Finder"]
