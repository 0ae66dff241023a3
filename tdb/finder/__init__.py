"""Finding the training loop of a script that has never heard of tdb.

What torch does while the script runs comes as events (`events`); from the updates among them follow the steps
(`steps`); what was differentiated, on what and of what is read off on the way (`losses`, `batches`, `models`,
`optimizers`, `discovery`); `finder` puts it together and drives the controller as an explicit loop does. Where a script
says itself where its steps end, only what it trains is found (`onlooker`). On request its batches come so that they can
be given again (`feed`). The hooks go on when torch has been
imported, by whomever (`arrival`), and processes that the script starts are announced (`children`).
"""

from tdb.finder.finder import Finder

__all__ = ["Finder"]
