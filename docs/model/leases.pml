/* Sessions, leases and attempts: one host with DEVICES devices, JOBS jobs of one org, TOKENS claims, SESSIONS sessions.
 *
 * Each option of a `do` is one script, one message or one step of a process, and is indivisible; between two of them
 * anything may happen for any time. Session(e) is the coordinator that serves session e. Coordinators keep nothing, so
 * several of them that stop, die and restart are sessions and reapers that stop and die one by one.
 *
 * Everything that can be told of an attempt hangs on its token: where it is, on which device, of which job and round.
 *
 * Time: `fresh` says that the last confirmed message was SENT less than 0.8 A ago. WINDOW is the only assumption on
 * clocks: an observer has seen a counter stand still for A + 2 s only when the supervisors have killed.
 */
#include "properties.pml"
#ifndef SESSIONS
#define SESSIONS 2
#endif
#ifndef TOKENS
#define TOKENS 2
#endif
#ifndef JOBS
#define JOBS 1
#endif
#ifndef DEVICES
#define DEVICES 1
#endif
#ifndef REAPERS
#define REAPERS 1
#endif

mtype = { UNUSED, SENT, HELD, ALIVE, DYING, SPOOLED, OVER };      /* an attempt, seen from the agent */
mtype = { QUEUED, SCHEDULED, PASSED, FAILED, CANCELLED };         /* a job */
mtype = { NONE, ASKED, OPENED, READ, ADOPTED, SERVING, ENDED };   /* a session's coordinator */
mtype = { CLOSED, CONNECTING, OPEN };                             /* the agent's link */
mtype = { KILLED };

/* fleet keys */
byte stored;            /* the highest epoch that was opened */
bool open;
bool toSweep;           /* the stored epoch is on the list of sessions to be swept */
#ifdef F_BEFORE
bool inSet = 1;         /* the org is in the agent's set: what is looked at begins after an earlier life of the agent */
#else
bool inSet;             /* the org is in the agent's set */
#endif
bool still[2];          /* the renewal counter is what reaper r read: all that a compare-and-set can tell */
/* org keys */
byte lowest;            /* epoch that may claim */
mtype job[2] = QUEUED; byte round[2] = 1; byte lease[2]; byte leaseEpoch[2]; bool revoked[2];
byte token = 1;         /* the next one */
/* attempts, by token */
mtype at[4] = UNUSED; byte by[4]; byte on[4]; byte its[4]; byte inRound[4]; mtype ended[4] = KILLED;
/* the host */
byte epoch; mtype link = CLOSED; bool fresh; bool gone;
byte acked;             /* an acknowledgement on its way */
/* sessions, by epoch */
mtype coord[4] = NONE; byte shown[4]; bool welcome[4]; byte adopted[4]; bool oldWelcome[4];
byte beat[4]; bool oldBeat[4]; byte report[4]; byte recall[4]; byte answer[4]; byte claiming[4]; byte granted[4];
bool admitted[4];
/* reapers */
byte look[2]; byte seen[2];
#ifdef F_FAILOVER
/* what an older state of the store had, and how often the store began a new life */
byte wasStored; bool wasOpen; bool wasToSweep; bool wasInSet; byte wasLowest; mtype wasJob = QUEUED; byte wasLease;
byte wasLeaseEpoch; byte wasVerdicts; byte kept; byte life; byte lifeOf[4]; bool noticed; bool sweptIn[2];
#endif
/* what no program knows */
byte verdicts[2]; bool calm;
byte i; byte k;          /* scratch, 0 between steps */

#define streams(e) (epoch == e && link != CLOSED)
#define final(j) (job[j] == PASSED || job[j] == FAILED || job[j] == CANCELLED)
#define lives(t) (at[t] == ALIVE || at[t] == DYING)
#define onDevice(t, d) (lives(t) && on[t] == d)
#define anyOn(d) (onDevice(1, d) || onDevice(2, d) || onDevice(3, d))
#define anyLives (lives(1) || lives(2) || lives(3))
#define faulty(e) (!calm && e < SESSIONS)     /* the last session is the one in which nothing breaks */

inline verdict(j, what) {
    holds(VERDICT, (verdicts[j] & (1 << round[j])) == 0);
    verdicts[j] = verdicts[j] | (1 << round[j]);
    job[j] = what
}
inline clear(j) { lease[j] = 0; leaseEpoch[j] = 0; revoked[j] = 0 }
inline release(j) {
    if :: !revoked[j] && !final(j) -> job[j] = QUEUED :: else fi;
    clear(j)
}
inline hangUp() {
    if :: link != CLOSED -> welcome[epoch] = 0; acked = 0; recall[epoch] = 0;
          if :: beat[epoch] > 1 -> beat[epoch] = 0; oldBeat[epoch] = 0 :: else fi
       :: else fi;
    link = CLOSED
}
inline endSession(e) {
    coord[e] = ENDED; beat[e] = 0; oldBeat[e] = 0; report[e] = 0; answer[e] = 0; claiming[e] = 0; granted[e] = 0;
    admitted[e] = 0; shown[e] = (welcome[e] -> shown[e] : 0)
}

/* ------------------------------------------------ an attempt ------------------------------------------------ */
#ifdef F_FAILOVER
/* The last session is one whose coordinator has noticed the store's new life: another would be ended, and followed. */
#define knows(e) (e < SESSIONS || kept != 2 || noticed)
#else
#define knows(e) true
#endif
proctype Attempt(byte t) {
end: do
#ifdef M_EPOCH_CHECK
  :: d_step { at[t] == SENT && link == OPEN -> at[t] = HELD; printf("agent: takes t%d of session %d\n", t, by[t]) }
#else
  :: d_step { at[t] == SENT && link == OPEN && by[t] == epoch -> at[t] = HELD; printf("agent: takes t%d\n", t) }
#endif
  :: d_step {
#ifndef M_DEVICE_GUARD
       !anyOn(on[t]) &&
#endif
#ifndef M_START_WINDOW
       fresh &&
#endif
       at[t] == HELD -> printf("agent: begins t%d on device %d\n", t, on[t]);
       holds(DEVICE, !anyOn(on[t]));
       at[t] = (fresh -> ALIVE : DYING) }
  :: d_step { at[t] == ALIVE -> printf("tree: t%d passed\n", t); ended[t] = PASSED; at[t] = SPOOLED }
#ifdef F_CLIENT
  :: d_step { at[t] == ALIVE -> printf("tree: t%d failed\n", t); ended[t] = FAILED; at[t] = SPOOLED }
#endif
  :: d_step { at[t] == DYING -> printf("tree: t%d is dead\n", t); ended[t] = KILLED; at[t] = SPOOLED }
  /* the confirmation of a heartbeat, the Welcome and Revoke name it; a token once revoked stays so */
  :: d_step { (at[t] == HELD || at[t] == ALIVE) && link == OPEN && coord[epoch] == SERVING && lease[its[t]] == t && revoked[its[t]] ->
       printf("agent: t%d is revoked\n", t);
       if :: at[t] == ALIVE -> at[t] = DYING :: else -> ended[t] = KILLED; at[t] = SPOOLED fi }
  :: d_step { at[t] == SPOOLED && link == OPEN && report[epoch] == 0 && acked == 0 -> report[epoch] = t }
  :: d_step { acked == t && link == OPEN -> acked = 0; at[t] = OVER; printf("agent: t%d leaves the spool\n", t) }
#ifdef F_RECALL
  :: d_step { link == OPEN && recall[epoch] == t && at[t] != SENT -> recall[epoch] = 0;
       if :: at[t] == HELD -> at[t] = OVER; answer[epoch] = t; printf("agent: gives t%d back\n", t) :: else fi }
#endif
  od
}

/* --------------------------------------------------- the host --------------------------------------------------- */
active proctype Host() {
end: do
  :: d_step { link == CLOSED && !gone && epoch < SESSIONS && knows(epoch + 1) ->
       epoch++; link = CONNECTING; coord[epoch] = ASKED;
       for (i : 1 .. TOKENS) {
           if :: lives(i) -> shown[epoch] = shown[epoch] | (1 << i)
#ifndef M_SHOW_UNSTARTED
              :: at[i] == HELD -> shown[epoch] = shown[epoch] | (1 << i)
#endif
#ifndef M_SHOW_SPOOLED
              :: at[i] == SPOOLED -> shown[epoch] = shown[epoch] | (1 << i)
#endif
              :: else fi };
       printf("agent: Hello, epoch %d, shows %d\n", epoch, shown[epoch]); i = 0; k = 0 }
  :: d_step { link == CONNECTING && welcome[epoch] ->
       link = OPEN; welcome[epoch] = 0; printf("agent: session %d is open, adopted %d\n", epoch, adopted[epoch]);
       if :: !oldWelcome[epoch] -> fresh = 1 :: else fi;
       for (i : 1 .. TOKENS) {
           if :: (shown[epoch] & (1 << i)) && !(adopted[epoch] & (1 << i)) ->
                 if :: at[i] == HELD -> at[i] = OVER :: at[i] == ALIVE -> at[i] = DYING :: else fi
              :: else fi };
       shown[epoch] = 0; adopted[epoch] = 0; oldWelcome[epoch] = 0; i = 0; k = 0 }
  :: d_step { link == OPEN && beat[epoch] == 0 && (!calm || !fresh) -> beat[epoch] = 1 }
  :: d_step { link == OPEN && beat[epoch] == 2 -> beat[epoch] = 0;
#ifdef M_FROM_SENDING
       fresh = 1;
#else
       if :: !oldBeat[epoch] -> fresh = 1 :: else fi;
#endif
       oldBeat[epoch] = 0; printf("agent: confirmed, fresh %d\n", fresh) }
  :: d_step { link == OPEN && beat[epoch] == 3 && epoch < SESSIONS -> printf("agent: refused\n"); hangUp() }
  :: d_step { fresh && (!calm || gone) -> fresh = 0; printf("supervisor: the lease is over\n");
       for (i : 1 .. TOKENS) { if :: at[i] == ALIVE -> at[i] = DYING :: else fi }; i = 0 }
  /* faults */
  :: d_step { link != CLOSED && faulty(epoch) -> printf("fault: stream %d breaks\n", epoch); hangUp() }
  :: d_step { link != CLOSED && faulty(epoch) -> printf("fault: stream %d breaks, what was sent is lost\n", epoch);
       report[epoch] = 0; answer[epoch] = 0; if :: beat[epoch] == 1 -> beat[epoch] = 0 :: else fi; hangUp() }
  :: d_step { link != CLOSED && coord[epoch] == ENDED && !welcome[epoch] && epoch < SESSIONS -> hangUp() }
  :: d_step { faulty(epoch) && epoch > 0 && (at[1] == HELD || at[2] == HELD || at[3] == HELD) -> printf("fault: the daemon dies\n");
       for (i : 1 .. TOKENS) { if :: at[i] == HELD -> at[i] = OVER :: else fi }; hangUp(); i = 0 }
  :: d_step { !gone && !calm -> gone = 1; printf("fault: the host is cut off for ever\n"); hangUp() }
  od
}

#ifdef M_LOWEST
#define mayClaim(e) true
#else
#define mayClaim(e) (e >= lowest)
#endif
#ifdef M_ONE_LEASE
#define free(j) true
#else
#define free(j) (lease[j] == 0)
#endif
#define claimable(j) (job[j] == QUEUED && free(j))
/* ------------------------------------------ the coordinator of a session ------------------------------------------ */
#ifdef F_FAILOVER
#define lifeStands(e) (lifeOf[e] == noticed)
#else
#define lifeStands(e) true
#endif
inline serve(e) { welcome[e] = streams(e); coord[e] = SERVING; printf("session %d: serves\n", e) }
proctype Session(byte e) {
end: do
  :: d_step { coord[e] == ASKED ->
#if defined(F_FAILOVER) && !defined(M_LIFE_BEFORE)
       lifeOf[e] = noticed;
#endif
       if :: e > stored ->
#if defined(F_UNKNOWN) && !defined(M_UNKNOWN_JOINS)
             /* the fleet knows nothing of the agent, which had sessions: every org joins its set */
             inSet = inSet || (stored == 0 && e > 1);
#endif
             stored = e; open = 1; toSweep = 0; still[0] = 0; still[1] = 0; coord[e] = OPENED
          :: else -> endSession(e) fi }
  :: d_step { coord[e] == OPENED ->        /* reads the agent's set and admits what is in it or shown */
#if defined(F_FAILOVER) && defined(M_LIFE_BEFORE)
       lifeOf[e] = noticed;
#endif
       if :: open && stored == e -> admitted[e] = inSet || shown[e] != 0; inSet = admitted[e]; coord[e] = READ
          :: else -> endSession(e) fi }
  :: d_step { coord[e] == READ ->
       if :: admitted[e] ->
             for (i : 1 .. TOKENS) {
                 if :: (shown[e] & (1 << i)) && lease[its[i]] == i && leaseEpoch[its[i]] <= e ->
                       adopted[e] = adopted[e] | (1 << i);
#ifndef M_ADOPT_EPOCH
                       leaseEpoch[its[i]] = e
#endif
                    :: else fi };
#ifndef M_RAISE_AT_CONNECT
             if :: lowest < e -> lowest = e :: else fi;
#endif
             for (k : 0 .. JOBS - 1) {
                 if :: lease[k] != 0 && leaseEpoch[k] < e && !(shown[e] & (1 << lease[k])) ->
                       holds(RESULT, at[lease[k]] != SPOOLED);
                       printf("session %d: releases t%d, which was not shown\n", e, lease[k]); release(k)
                    :: else fi };
             skip
          :: else fi;
       if :: admitted[e] && shown[e] == 0 -> coord[e] = ADOPTED
          :: else -> serve(e) fi;
       i = 0; k = 0 }
  /* nothing was shown, so nothing is held in the org: it leaves the set, and is admitted again before a claim */
  :: d_step { coord[e] == ADOPTED ->
       if ::
#ifndef M_SPARE_CHECK
             stored == e &&
#endif
             lifeStands(e) -> inSet = 0; printf("session %d: the org leaves the set\n", e)
          :: else fi;
#ifndef M_SPARE_ADMITS
       admitted[e] = 0;
#endif
       if :: lifeStands(e) -> serve(e) :: else -> endSession(e) fi }
#ifdef F_FAILOVER
#ifndef M_NEW_LIFE
  /* the coordinator finds that the store has a new life: it ends the sessions that it had before */
  :: d_step { coord[e] == SERVING && lifeOf[e] != noticed && e < SESSIONS -> printf("session %d: ends, the store has a new life\n", e); endSession(e) }
#endif
#endif
  :: d_step { coord[e] == SERVING && beat[e] == 1 ->
       if :: open && stored == e -> still[0] = 0; still[1] = 0; beat[e] = (streams(e) -> 2 : 0); printf("session %d: renewed\n", e)
          :: else -> beat[e] = (streams(e) -> 3 : 0) fi }
  :: d_step { coord[e] == SERVING && report[e] != 0 -> i = report[e]; k = its[i];
       printf("session %d: finish of t%d, lease t%d, revoked %d\n", e, i, lease[k], revoked[k]);
       if ::
#ifdef M_TOKEN_CHECK
             lease[k] != 0 ->
#else
             lease[k] == i ->
#endif
             holds(TOKEN, lease[k] == i);
             if ::
#ifndef M_REVOKED_NO_VERDICT
                   revoked[k] -> skip
                ::
#endif
                   ended[i] == KILLED -> if :: !final(k) -> job[k] = QUEUED :: else fi
                :: else -> holds(TOKEN, inRound[i] == round[k]); verdict(k, ended[i])
             fi;
             clear(k)
          :: else fi;
       acked = (streams(e) -> i : acked); report[e] = 0; i = 0; k = 0 }
  /* a claim: the org joins the agent's set, the script grants, the message goes */
  :: d_step { coord[e] == SERVING && claiming[e] == 0 && token <= TOKENS && (claimable(0) || (JOBS > 1 && claimable(1))) && mayClaim(e) && (admitted[e] || (open && stored == e)) ->
       if :: admitted[e] -> claiming[e] = 1
          :: !admitted[e] && open && stored == e ->
#ifndef M_ADMIT_FIRST
             inSet = 1;
#endif
             admitted[e] = 1; claiming[e] = 1 fi }
#define grant(j, d) \
  :: d_step { coord[e] == SERVING && claiming[e] == 1 && job[j] == QUEUED && token <= TOKENS && mayClaim(e) && free(j) -> \
       lease[j] = token; leaseEpoch[j] = e; revoked[j] = 0; job[j] = SCHEDULED; \
       if :: lowest < e -> lowest = e :: else fi; \
       its[token] = j; on[token] = d; by[token] = e; inRound[token] = round[j]; granted[e] = token; token++; claiming[e] = 2; \
       printf("session %d: claims t%d, job %d, device %d\n", e, granted[e], j, d) }
  grant(0, 0)
#if DEVICES > 1
  grant(0, 1)
#endif
#if JOBS > 1
  grant(1, 0)
#if DEVICES > 1
  grant(1, 1)
#endif
#endif
  :: d_step { coord[e] == SERVING && claiming[e] == 1 && (!mayClaim(e) || token > TOKENS || !(claimable(0) || claimable(1))) -> claiming[e] = 0 }
#ifndef M_STALE_ENDS
  /* a claim below the lowest epoch is refused, as every later one would be: the session is over */
  :: d_step { coord[e] == SERVING && claiming[e] < 2 && !mayClaim(e) && (claimable(0) || (JOBS > 1 && claimable(1))) && e < SESSIONS -> printf("session %d: ends, it may not claim\n", e); endSession(e) }
#endif
  :: d_step { coord[e] == SERVING && claiming[e] == 2 -> at[granted[e]] = SENT;
#ifdef M_ADMIT_FIRST
       inSet = 1;
#endif
       granted[e] = 0; claiming[e] = 0; printf("session %d: sends the assignment\n", e) }
#ifdef F_RECALL
#define ask(j) \
  :: d_step { coord[e] == SERVING && !calm && streams(e) && recall[e] == 0 && claiming[e] == 0 && lease[j] != 0 && leaseEpoch[j] == e && by[lease[j]] == e && job[j] == SCHEDULED -> \
       recall[e] = lease[j]; printf("session %d: recalls t%d\n", e, lease[j]); afterAsking(j) }
#ifdef M_RECALL_ANSWER
#define afterAsking(j) release(j)
#else
#define afterAsking(j) skip
#endif
  ask(0)
  :: d_step { coord[e] == SERVING && answer[e] != 0 -> i = answer[e]; k = its[i];
       if :: lease[k] == i -> printf("session %d: releases t%d, given back\n", e, i); release(k) :: else fi;
       answer[e] = 0; i = 0; k = 0 }
#endif
  :: d_step { coord[e] != NONE && coord[e] != ENDED && faulty(e) -> printf("fault: the coordinator of session %d dies\n", e); endSession(e) }
  :: d_step { coord[e] == SERVING && !streams(e) && claiming[e] == 0 -> endSession(e) }
  od
}

/* ---------------------------------------------------- reapers ---------------------------------------------------- */
#ifdef M_SUPERVISOR
#define KILLED_BY_NOW true
#else
#define KILLED_BY_NOW (!fresh && !anyLives)
#endif
#define WINDOW (KILLED_BY_NOW && ((stored < SESSIONS && !calm) || gone))

#ifdef F_FAILOVER
#define lifeSeen(r) sweptIn[r] = noticed
#define sameLife(r) (sweptIn[r] == noticed)
#else
#define lifeSeen(r) skip
#define sameLife(r) true
#endif
proctype Reaper(byte r) {
end: do
  :: d_step { look[r] == 0 && open && (!calm || gone) -> seen[r] = stored; still[r] = 1; look[r] = 1 }
  :: d_step { look[r] == 1 && !still[r] -> look[r] = 0; seen[r] = 0 }
  :: d_step { look[r] == 1 && still[r] && WINDOW -> look[r] = 2; printf("reaper %d: epoch %d stood still for A + 2\n", r, seen[r]);
       for (i : 1 .. SESSIONS) {
           oldBeat[i] = oldBeat[i] || beat[i] != 0;
           oldWelcome[i] = oldWelcome[i] || coord[i] == OPENED || coord[i] == READ || coord[i] == ADOPTED || welcome[i] }; i = 0 }
#ifdef M_CLOSE_FIRST
  :: d_step { look[r] == 2 -> look[r] = 4 }
#else
  :: d_step { look[r] == 2 ->
       if :: still[r] && stored == seen[r] -> open = 0; toSweep = 1; still[0] = 0; still[1] = 0; look[r] = 3; printf("reaper %d: closes %d\n", r, seen[r])
          :: else -> look[r] = 0; seen[r] = 0 fi }
  :: d_step { look[r] == 3 && inSet -> look[r] = 4; lifeSeen(r) }
  :: d_step { look[r] == 3 && !inSet -> look[r] = 6; lifeSeen(r) }
#endif
  :: d_step { look[r] == 4 ->
#ifndef M_RAISE_AT_SWEEP
       if :: lowest <= seen[r] -> lowest = seen[r] + 1 :: else fi;
#endif
       for (k : 0 .. JOBS - 1) {
           if :: lease[k] != 0 && leaseEpoch[k] <= seen[r] -> printf("reaper %d: releases t%d\n", r, lease[k]); release(k) :: else fi };
       k = 0;
#ifdef M_CLOSE_FIRST
       if :: still[r] -> open = 0; still[0] = 0; still[1] = 0 :: else fi; look[r] = 0; seen[r] = 0 }
#else
       look[r] = 5 }
#endif
  /* swept: off the list, and the org leaves the agent's set unless a newer session is there */
  :: d_step { look[r] == 5 || look[r] == 6 ->
       if :: stored == seen[r] && sameLife(r) -> toSweep = 0 :: else fi;
       if ::
#ifndef M_PRUNE_CHECK
             stored == seen[r] && !open &&
#endif
             look[r] == 5 && sameLife(r) -> inSet = 0; printf("reaper %d: the org leaves the set\n", r)
          :: else fi;
       look[r] = 0; seen[r] = 0 }
#ifndef M_SWEEP_GOES_ON
  :: d_step { look[r] == 0 && toSweep && !open -> seen[r] = stored; look[r] = 3 }
#endif
  :: d_step { look[r] > 0 && !calm -> printf("fault: reaper %d dies\n", r); look[r] = 0; seen[r] = 0; still[r] = 0 }
  od
}

#ifdef F_CLIENT
/* A cancel and a retry of job 0: each means the round that it saw, and arrives up to twice. */
byte cancels; byte retries; byte cancelRound; byte retryRound;
active proctype Client() {
end: do
  :: d_step { !calm && cancelRound == 0 -> cancelRound = round[0] }
  :: d_step { !calm && retryRound == 0 && (job[0] == FAILED || job[0] == CANCELLED) -> retryRound = round[0] }
  :: d_step { !calm && cancelRound != 0 && cancels < 2 -> cancels++; printf("org: cancel of round %d, round is %d\n", cancelRound, round[0]);
       if ::
#ifndef M_CANCEL_ROUND
             cancelRound == round[0] &&
#endif
             !final(0) -> holds(ROUND, cancelRound == round[0]); verdict(0, CANCELLED);
             if :: lease[0] != 0 ->
#ifdef M_CANCEL_KEEPS_LEASE
                   clear(0)
#else
                   revoked[0] = 1
#endif
                :: else fi
          :: else fi }
  :: d_step { !calm && retryRound != 0 && retries < 2 -> retries++; printf("org: retry of round %d, round is %d\n", retryRound, round[0]);
       if ::
#ifndef M_RETRY_ROUND
             retryRound == round[0] &&
#endif
             round[0] < 3 && (job[0] == FAILED || job[0] == CANCELLED) -> holds(ROUND, retryRound == round[0]); round[0]++; job[0] = QUEUED
          :: else fi }
  od
}
#endif

#ifdef F_FAILOVER
/* The store goes back, once, to a state that it had; fleet and org together, as one store does. Tokens are nonces and
 * go on. A reaper starts its time anew, since the counter that it finds is another one. */
active proctype Failover() {
end: do
#ifdef F_UNKNOWN
#define copied true                  /* maybe before the agent ever came */
#else
#define copied (stored > 0)
#endif
  :: d_step { !calm && kept == 0 && copied -> kept = 1; wasStored = stored; wasOpen = open; wasToSweep = toSweep; wasInSet = inSet;
       wasLowest = lowest; wasJob = job[0]; wasLease = lease[0]; wasLeaseEpoch = leaseEpoch[0]; wasVerdicts = verdicts[0];
       printf("store: what stands here is copied\n") }
  :: d_step { !calm && epoch < SESSIONS && kept == 1 -> kept = 2; life = 1; stored = wasStored; open = wasOpen; toSweep = wasToSweep; inSet = wasInSet;
       lowest = wasLowest; job[0] = wasJob; lease[0] = wasLease; leaseEpoch[0] = wasLeaseEpoch; verdicts[0] = wasVerdicts;
       still[0] = 0; still[1] = 0; printf("fault: the store goes back to the copy\n") }
  :: d_step { life == 1 && !noticed -> noticed = 1;
#ifndef M_NEW_LIFE_ORGS
       inSet = (stored > 0);   /* every org that there is joins the set of every agent that is known; what is closed is swept again */
       toSweep = !open && stored > 0;
#endif
       printf("fleet: a new life of the store is noticed\n") }
#if defined(F_UNKNOWN) && !defined(M_FOUND_LEASE)
  /* a look over all orgs finds a lease of a later session than the fleet knows: it is watched from here on */
  :: d_step { kept == 2 && lease[0] != 0 && lowest > stored ->
       stored = lowest; open = 1; inSet = 1; toSweep = 0; still[0] = 0; still[1] = 0;
       printf("fleet: session %d is found by its lease\n", stored) }
#endif
  od
}
#endif

active proctype World() { end: d_step { !calm -> calm = 1; printf("faults stop\n") } }

#define stray(t) (lives(t) && lease[its[t]] != t)
#ifndef F_FAILOVER       /* an older state may know nothing of a lease whose tree lives: only the host's rules are left */
active proctype Fence() {
end: d_step { (stray(1) || stray(2) || stray(3)) -> printf("a tree lives without its lease\n"); holds(FENCE, false) }
}
#endif
#define settled(j) (lease[j] == 0 && (final(j) || (job[j] == QUEUED && (gone || token > TOKENS))))
active proctype Rest() {
end: atomic { timeout -> printf("nothing moves any more\n"); holds(ENDING, settled(0) && (JOBS == 1 || settled(1))) }
}

init { atomic {
    run Attempt(1);
#if TOKENS > 1
    run Attempt(2);
#endif
#if TOKENS > 2
    run Attempt(3);
#endif
    run Session(1);
#if SESSIONS > 1
    run Session(2);
#endif
#if SESSIONS > 2
    run Session(3);
#endif
    run Reaper(0);
#if REAPERS > 1
    run Reaper(1)
#endif
} }
