/* The fleet's set of orgs with waiting work, against the queue of an org: no script can touch both.
 *
 * Submitters put the org in, write the job, put the org in again; a pruner that found the org idle takes it out, looks
 * again and puts it back; a scheduler serves the orgs of the set; a sweep goes over all orgs that there ever were.
 */
#include "properties.pml"
#define JOBS 3
bool inSet; byte queue; byte toCome = JOBS; byte prunings;

#ifdef F_DIE
#define mayDie if :: skip :: goto dead fi
#else
#define mayDie skip
#endif
active [2] proctype Submitter() {
next:
    end: atomic { toCome > 0 -> toCome-- };
#ifndef M_ADD_BEFORE
    inSet = 1;
#endif
    mayDie;
    queue++;
    mayDie;
#ifndef M_ADD_AFTER
    inSet = 1;
#endif
    goto next;
dead: skip
}
active [2] proctype Pruner() {
next:
    end: atomic { inSet && queue == 0 && prunings < 3 -> prunings++ };
    inSet = 0;
#ifndef M_LOOK_AGAIN
    if :: queue > 0 -> inSet = 1 :: else fi;
#endif
    goto next
}
active proctype Scheduler() { end: do :: atomic { inSet && queue > 0 -> queue-- } od }
#ifndef M_SWEEP_ALL
active proctype Sweep() { end: do :: atomic { queue > 0 && !inSet -> inSet = 1 } od }
#endif
active proctype Rest() { end: atomic { timeout -> printf("nothing moves any more, %d jobs wait\n", queue); holds(ENDING, queue == 0) } }
