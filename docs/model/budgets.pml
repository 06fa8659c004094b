/* What a failed attempt costs: two retry budgets, what nobody pays, and the job that costs agents their life.
 *
 * One job, three agents, one lease at a time (leases.pml shows that). Reports may be lost, late and repeated: `told` is
 * the set of tokens whose last report is on its way or will be sent again. Times of backoff are left out: a job that
 * waits for its time is one that is queued and not claimed yet.
 */
#include "properties.pml"
#ifndef CLAIMS
#define CLAIMS 3
#endif
#define OF_TEST 1        /* retries of the test's own budget in a round */
#ifndef OF_INFRA
#define OF_INFRA 1       /* retries of the infrastructure's */
#endif
#define OF_OUTAGES 1     /* attempts of a round that are lost to outages for free */
#define POISON 2         /* agents that it may cost their life */

mtype = { QUEUED, SCHEDULED, RUNNING, PASSED, FAILED };
mtype = { UNKNOWN, PASS, TEST, INFRA, NOBODY, OUTAGE };

mtype job = QUEUED; byte round = 1; byte lease; byte agent; byte usedTest; byte usedInfra; byte usedOutages; byte lostAt;
byte token = 1;
/* at the agents */
byte begun; byte told; mtype outcome[6] = UNKNOWN; byte where[6];
/* what no program knows */
byte failures; byte faults; byte outages; byte charged; byte begunAt; bool retried;

#define bit(t) (1 << (t))
#define count2(m) (((m) & 2) / 2 + ((m) & 4) / 4 + ((m) & 8) / 8)

inline clear() { lease = 0; agent = 0 }
inline charge(t) { holds(BUDGET, (charged & bit(t)) == 0); charged = charged | bit(t) }
inline failed(t, kind) {
    if :: kind == TEST -> charge(t);
          if :: usedTest < OF_TEST -> usedTest++; job = QUEUED
             :: else -> holds(BUDGET, failures == OF_TEST + 1); job = FAILED fi
       :: kind == INFRA -> charge(t);
#ifdef M_TWO_BUDGETS
          if :: usedTest < OF_TEST -> usedTest++; job = QUEUED
             :: else -> job = FAILED fi
#else
          if :: usedInfra < OF_INFRA -> usedInfra++; job = QUEUED
             :: else -> holds(BUDGET, faults == OF_INFRA + 1); job = FAILED fi
#endif
       :: kind == NOBODY -> job = QUEUED
    fi
}

active proctype Store() {
end: do
  /* claim */
  :: atomic { job == QUEUED && lease == 0 && token <= CLAIMS -> lease = token; job = SCHEDULED;
       if :: agent = 1 :: agent = 2 :: agent = 3 fi; where[token] = agent;
       holds(BUDGET, count2(lostAt) < POISON);
       printf("org: claims t%d for agent %d\n", token, agent); token++ }
  /* start: on its way as long as the attempt lives, or told by its result */
  :: d_step { job == SCHEDULED && lease != 0 && (begun & bit(lease)) -> job = RUNNING; printf("org: t%d runs\n", lease) }
  /* the lease is lost: swept, not shown at Connect, or found dead by a restarted agent, which says so */
  :: d_step { lease != 0 && (job == SCHEDULED || job == RUNNING) -> printf("org: t%d is lost\n", lease);
       if ::
#ifdef M_UNSTARTED_IS_FREE
             true -> holds(BUDGET, begun & bit(lease));
#else
             job == SCHEDULED -> job = QUEUED
          :: job == RUNNING -> holds(BUDGET, begun & bit(lease));
#endif
             lostAt = lostAt | bit(agent);
             if ::
#ifdef M_POISON
                   false -> skip
#else
                   count2(lostAt) >= POISON -> job = FAILED
#endif
                :: else -> faults++; failed(lease, INFRA) fi
       fi;
       clear() }
  /* finish, first or again */
#define finish(t) \
  :: d_step { (told & bit(t)) -> printf("org: finish of t%d, lease t%d\n", t, lease); \
       if :: mine(t) && lease != 0 -> \
             if :: outcome[t] == PASS -> job = PASSED \
                :: outcome[t] == TEST -> failures = failures + ((charged & bit(t)) == 0); failed(t, TEST) \
                :: outcome[t] == INFRA -> faults = faults + ((charged & bit(t)) == 0); failed(t, INFRA) \
                :: outcome[t] == NOBODY -> failed(t, NOBODY) \
                :: outcome[t] == OUTAGE -> outages++; \
                   if :: spared -> usedOutages++; holds(BUDGET, outages <= OF_OUTAGES); failed(t, NOBODY) \
                      :: else -> faults = faults + ((charged & bit(t)) == 0); failed(t, INFRA) fi fi; \
             clear() \
          :: else fi }
#ifdef M_TOKEN_CHECK
#define mine(t) true
#else
#define mine(t) (lease == t)
#endif
#ifdef M_OUTAGES_END
#define spared true
#else
#define spared (usedOutages < OF_OUTAGES)
#endif
  finish(1)
  finish(2)
  finish(3)
  finish(4)
  /* a manual retry: once, to keep the search small */
  :: d_step { job == FAILED && lease == 0 && !retried -> retried = 1; round++; job = QUEUED; failures = 0; faults = 0; outages = 0; printf("org: a new round\n");
#ifndef M_NEW_ROUND_NEW_BUDGET
       usedTest = 0; usedInfra = 0; usedOutages = 0; lostAt = 0
#else
       lostAt = 0
#endif
       }
  od
}

proctype Attempt(byte t) {
end: do
  :: d_step { where[t] != 0 && !(begun & bit(t)) && lease == t -> begun = begun | bit(t) }
  :: atomic { where[t] != 0 && outcome[t] == UNKNOWN && (begun & bit(t)) ->
       if :: outcome[t] = PASS :: outcome[t] = TEST :: outcome[t] = INFRA :: outcome[t] = NOBODY :: outcome[t] = OUTAGE fi; told = told | bit(t) }
  :: d_step { (told & bit(t)) && lease != t -> told = told & ~bit(t) }     /* acknowledged */
  od
}
init { atomic { run Attempt(1); run Attempt(2); run Attempt(3); run Attempt(4) } }
