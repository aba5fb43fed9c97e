"""The table of hostile and broken files: python tests/training/hostile_files_proof.py [GROUP ...].

Sends each case into the way in that it names and prints what came of it, with the message of those
that are refused. Exits with status 1 if any outcome is not the documented one.
"""

import faulthandler
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation

from hostile_bench import Bench, outcome_of
from hostile_files import LIMIT, all_cases


def prove(groups: list[str]) -> int:
    """Run the cases of some groups, or all, and print the table."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    counts, times = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for number, case in enumerate(all_cases(), 1):
            if groups and case.group not in groups:
                continue
            start = time.process_time()
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            outcome, message = outcome_of(case, bench)
            faulthandler.cancel_dump_traceback_later()
            seconds = time.process_time() - start
            times[case.group] += seconds
            counts[case.group, outcome] += 1
            message = message.replace(folder, '')
            print(f'{number:4} {case.group:<12}{case.what:<48}{case.way:<16}{outcome}', end='')
            print(f'  {seconds:.1f} s' if seconds > 1 else '', flush=True)
            if message:
                print(f'                 {message}')
    print()
    for (group, outcome), count in sorted(counts.items()):
        print(f'{group:<16}{count:4}  {outcome}')
    print(f'{"all":<16}{counts.total():4}')
    print('Seconds: ' + ', '.join(f'{group} {s:.1f}' for group, s in times.items()))
    return sum(count for (_, outcome), count in counts.items() if outcome == 'WRONG')


if __name__ == '__main__':
    sys.exit(1 if prove(sys.argv[1:]) else 0)
