"""Runs one test file of this suite: `python3 -I -S run.py tests/cart/add_item_test.py`.

Every function `test_*` of the file is called in the order in which it stands there. The exit code is 0 when all pass, 1
when one fails and 2 when there is nothing to run, which is all that qgjob's `command` runner needs to know of a test.

It is a few lines and not pytest so that a file starts in milliseconds, with nothing installed, on any machine.
"""

# pathlib is left out on purpose: importing it would take longer than most tests of the suite do.
# ruff: noqa: PTH100, PTH118, PTH120, PTH123
import os
import sys
import time
import traceback

SUITE = os.path.dirname(os.path.abspath(__file__))


def load(test_path):
    """The functions `test_*` of a file, by name, in file order."""
    with open(os.path.join(SUITE, test_path), encoding="utf-8") as file:
        source = file.read()
    names = {"__name__": "__test__", "__file__": test_path}
    exec(compile(source, test_path, "exec"), names)  # noqa: S102 - running the named file is what a test runner does
    return {name: value for name, value in names.items() if name.startswith("test_") and callable(value)}


def run(tests):
    """Calls each test, prints a line for it, and returns what each failed one said."""
    failures = []
    for name, test in tests.items():
        started = time.perf_counter()
        try:
            test()
        except Exception as error:  # noqa: BLE001 - whatever a test raises is its failure
            failures.append(f"{name}: {type(error).__name__}: {error}")
            print(f"not ok  {failures[-1]}", flush=True)
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"ok      {name} ({(time.perf_counter() - started) * 1000:.1f} ms)", flush=True)
    return failures


def main(argv):
    """Exit code of a run of the file named by the only argument."""
    if len(argv) != 2:
        print("usage: python3 -I -S run.py tests/FOLDER/NAME_test.py", file=sys.stderr)
        return 2
    sys.path.insert(0, SUITE)  # `from app.cart import Cart`
    try:
        tests = load(argv[1])
    except OSError as error:
        print(f"{argv[1]}: {error.strerror}", file=sys.stderr)
        return 2
    if not tests:
        print(f"{argv[1]}: no function test_* in it", file=sys.stderr)
        return 2
    release = os.environ.get("QGJOB_APP_VERSION_ID", "the default release")
    print(f"{argv[1]} on {os.environ.get('QGJOB_DEVICE_ID', 'no device')}, {release}", flush=True)
    failures = run(tests)
    # The last line is what a reader of the verdict sees.
    print("; ".join([f"{len(tests) - len(failures)} passed, {len(failures)} failed", *failures]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
