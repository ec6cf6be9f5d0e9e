"""Who takes part in the scoring federation of tests, with which rows, and what its model gives for them."""

from __future__ import annotations

PARTIES = {
    "bank-01": "bank",
    "bank-02": "bank",
    "lender": "client",
    "platform": "client",
    "tax-01": "tax",
    "tax-02": "tax",
    "utility-01": "utility",
    "witness": "witness",
}
SOURCES = {"bank": "bank-01", "tax": "tax-01", "utility": "utility-01"}
SCHEMA = """
name: small
id: {column: id, type: opaque}
as_of: 2026-01-31
label: {column: bad, kind: bank, performance_months: 12, title: {zh: 违约, en: Default}}
kinds:
  bank:
    features:
      age: {title: {zh: 年龄, en: Age}, class: C2, bins: [30, 50]}
      loans: {title: {zh: 贷款笔数, en: Loans}, class: C2, bins: [1, 3], actionable: down}
  tax:
    features:
      income: {title: {zh: 收入, en: Income}, class: C2, bins: [100, 200]}
  utility:
    features:
      late: {title: {zh: 欠费次数, en: Late bills}, class: C2, bins: [0, 2], actionable: down}
"""
ROWS = {
    "bank": "id,age,loans,bad\nM001,25,0,1\nM002,40,2,0\nM003,60,5,\nC001,33,1,0\n",
    "tax": "id,income\nM001,50\nM002,150\nM003,300\n",
    "utility": "id,late\nM001,3\nM002,1\n",
}
POINTS = {"age": (-40, 0, 30, -5), "loans": (20, 0, -60, 0), "income": (-70, 10, 80, 0), "late": (25, -15, -90, 0)}
MERCHANTS = ("M001", "M002", "M003", "M004")
