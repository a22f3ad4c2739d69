"""The proof that every framework of the image works: one short real step each, without a network.

    rows.py         the list: what is proved, by which step, where
    runner.py       runs the steps, each in a process of its own with a time-out
    step.py         that process: one step, and its report
    failure.py      from an exception or a dead process to the sentence that says what is wrong
    gpu.py          why a framework sees no GPU: driver, library or build
    report.py       the table, the lines of progress, the JSON
    steps/          the steps themselves, one module a family of frameworks

Importing this package and every module beside steps/ takes nothing but Python's standard library, so that
a broken framework cannot keep the proof from saying so.
"""
