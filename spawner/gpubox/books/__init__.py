"""The books: what the ledger tells those who only read it. Who holds what, what was used, what it cost.

Reads the tables, beside a running hub or without one, and writes nothing: leases are ``pool``'s. Times are
seconds since the epoch; days and months are those of this machine's time zone.

``periods`` says from when to when, ``holdings`` what is held, ``bill`` what was used: ``sums`` of leases, and
of months that are ``closed``. ``timeline`` says which GPU was whose and when, ``export`` writes a bill as CSV
or JSON.
"""

from .bill import KEYS, NO_GROUP, Bill, Key, Usage, usage
from .closed import SETTLED_SECONDS, Holder, months_to_close, sum_up
from .export import as_csv, as_dict
from .holdings import Holding, held
from .periods import Period, Slice, cut, day, days, month
from .problem import BooksProblem
from .source import open_books
from .timeline import Span, Timeline, Use, history

__all__ = [
    "KEYS",
    "NO_GROUP",
    "SETTLED_SECONDS",
    "Bill",
    "BooksProblem",
    "Holder",
    "Holding",
    "Key",
    "Period",
    "Slice",
    "Span",
    "Timeline",
    "Usage",
    "Use",
    "as_csv",
    "as_dict",
    "cut",
    "day",
    "days",
    "held",
    "history",
    "month",
    "months_to_close",
    "open_books",
    "sum_up",
    "usage",
]
