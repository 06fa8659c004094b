/* Submissions of one and the same test: ids, aliases, the entry of the unfinished job, runs, and a manual retry.
 *
 * Two callers submit an equal job each, under an id and a run of their own; every submission may arrive again at any later
 * time. Job j exists when caller j's submission made one. The life of a job between is a single step.
 * F_KEY: each time it arrives under a new id, so that only its idempotency key tells that it is the same.
 */
#include "properties.pml"
#ifndef DELIVERIES
#define DELIVERIES 3
#endif
mtype = { NONE, UNFINISHED, PASSED, FAILED, CANCELLED };
mtype job[2] = NONE; byte runs[2];           /* set of runs that want job j */
byte entry;                                  /* deduplication entry: job + 1, or 0 */
byte alias[2];                               /* id j stands for job alias - 1 */
byte key[2];                                 /* key j stands for job key - 1 */
byte made[2];                                /* how often job j was made */
byte deliveries[2]; bool answered[2];
bool left[2]; bool retried;

#define done(j) (job[j] == FAILED || job[j] == CANCELLED || job[j] == PASSED)

inline remember(j, x) {                      /* what was proposed with submission j stands for job x from now on */
#ifdef F_KEY
    key[j] = x + 1
#else
    alias[j] = x + 1
#endif
}
inline verdict(j, what) {
    job[j] = what;
#ifdef M_OWN_ENTRY
    entry = 0
#else
    if :: entry == j + 1 -> entry = 0 :: else fi
#endif
}
proctype Caller(byte j) {
end: do
  :: d_step { deliveries[j] < DELIVERIES -> deliveries[j]++;
       if ::
#ifdef F_KEY
             key[j] != 0 -> runs[key[j] - 1] = runs[key[j] - 1] | (1 << j);
             printf("org: submission %d again, its key stands for job %d\n", j, key[j] - 1)
#elif defined(M_JOB_ID)
             false -> skip
#else
             job[j] != NONE -> printf("org: submission %d again, its job is known\n", j)
#endif
          :: else ->
             if ::
#ifdef M_ALIAS
                   false -> skip
#else
                   alias[j] != 0 -> printf("org: submission %d again, it stands for job %d\n", j, alias[j] - 1)
#endif
                :: else ->
                   if ::
#ifdef M_ENTRY
                         false -> skip
#else
                         entry != 0 -> runs[entry - 1] = runs[entry - 1] | (1 << j);
#ifndef M_KEY_OF_EQUAL
                         remember(j, entry - 1);
#endif
                         printf("org: submission %d is of job %d\n", j, entry - 1)
#endif
                      :: else -> made[j]++; job[j] = UNFINISHED; runs[j] = runs[j] | (1 << j); entry = j + 1;
#if defined(F_KEY) && !defined(M_KEY)
                         key[j] = j + 1;
#endif
                         printf("org: submission %d makes a job\n", j);
                         holds(EQUALS, !answered[j] && made[j] == 1)
                   fi
             fi
       fi;
       answered[j] = 1 }
  /* its run is cancelled */
  :: d_step { answered[j] && !left[j] -> left[j] = 1; printf("org: run %d is cancelled\n", j);
#define leave(x) \
       if :: job[x] == UNFINISHED && (runs[x] & (1 << j)) -> \
             if :: stays(x) -> runs[x] = runs[x] & ~(1 << j) \
                :: else -> holds(EQUALS, (runs[x] & ~(1 << j)) == 0); verdict(x, CANCELLED) fi \
          :: else fi
#ifdef M_RUNS_SHARE
#define stays(x) false
#else
#define stays(x) ((runs[x] & ~(1 << j)) != 0)
#endif
       leave(0); leave(1) }
  od
}
active proctype Org() {
end: do
  :: d_step { job[0] == UNFINISHED -> verdict(0, FAILED) }
  :: d_step { job[1] == UNFINISHED -> verdict(1, FAILED) }
  :: d_step { job[0] == UNFINISHED -> verdict(0, PASSED) }
#define retry(j) \
  :: d_step { !retried && (job[j] == FAILED || job[j] == CANCELLED) && mayRetry(j) -> retried = 1; job[j] = UNFINISHED; entry = j + 1; printf("org: retry of job %d\n", j) }
#ifdef M_RETRY_REFUSED
#define mayRetry(j) true
#else
#define mayRetry(j) (entry == 0 || entry == j + 1)
#endif
  retry(0)
  retry(1)
  od
}
active proctype Watch() { end: d_step { job[0] == UNFINISHED && job[1] == UNFINISHED -> printf("org: two equal jobs are unfinished\n"); holds(EQUALS, false) } }
init { atomic { run Caller(0); run Caller(1) } }
