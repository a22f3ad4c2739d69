"""A bill for programs: CSV (RFC 4180) and JSON."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from .bill import Bill, Usage

# A spreadsheet takes what begins with one of these for a formula, and runs it (OWASP, CSV injection).
_FORMULA = tuple("=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}")
_HEAD = ("leases", "hours", "gpu_hours", "idle_gpu_hours", "measured_gpu_hours", "cost", "idle_cost")


def as_dict(bill: Bill) -> dict[str, Any]:
    """The bill as JSON takes it; times are Unix seconds."""
    return {
        "by": bill.by,
        "period": asdict(bill.period),
        "rows": [asdict(row) for row in bill.rows],
        "total": asdict(bill.total),
    }


def as_csv(bill: Bill) -> str:
    """The bill's rows with a line of names first; no total, which a spreadsheet would add to the sum."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((bill.by, *_HEAD))
    writer.writerows(_cells(row) for row in bill.rows)
    return text.getvalue()


def _cells(row: Usage) -> tuple[str, ...]:
    hours = (row.hours, row.gpu_hours, row.idle_gpu_hours, row.measured_gpu_hours)
    prices = (row.cost, row.idle_cost)
    return (
        harmless(row.name),
        str(row.leases),
        *(f"{figure:.4f}" for figure in hours),
        *(f"{figure:.2f}" for figure in prices),
    )


def harmless(cell: str) -> str:
    """The text as a spreadsheet shows it without running it: names come from outside."""
    return f"'{cell}" if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else cell
