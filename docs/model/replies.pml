/* Scripts whose reply is lost, and which are run again with the same arguments.
 *
 * One job and the scripts of its life, in the order in which a coordinator asks for them. The reply of each may be lost;
 * then the same call is repeated before anything that depends on its answer is done, while others (a reaper, a second
 * coordinator, a later attempt) go on. Each repeat has to answer as the first run did, and to change nothing.
 * With F_LATE a call may arrive once more at any later time, as a duplicate that a proxy kept.
 */
#include "properties.pml"
#define TOKENS 3
mtype = { QUEUED, SCHEDULED, RUNNING, FAILED };
mtype = { NOTHING, GRANTED, REFUSED, APPLIED, REPLAYED, STALE };
mtype job = QUEUED; byte lease; byte lowest = 1; byte epoch = 1;
byte token = 1; byte finishedTokens; byte used;
/* the coordinator's call that has no answer yet: 1 claim, 2 start, 3 finish */
byte call; byte of_; mtype first = NOTHING; byte times; bool agentHas; bool agentDone; byte duplicate;
mtype word = NOTHING;

#define bit(t) (1 << (t))
inline claim(t) {
    if :: lease == t -> word = GRANTED
       :: lease != t && lease == 0 && job == QUEUED && epoch >= lowest -> lease = t; job = SCHEDULED; word = GRANTED
       :: else -> word = REFUSED fi
}
inline start(t) {
    if :: lease == t && job == SCHEDULED -> job = RUNNING; word = APPLIED
       :: lease == t && job == RUNNING -> word = REPLAYED
       :: else -> word = STALE fi
}
inline finish(t) {
    if :: lease == t ->
#ifndef M_TOKEN_KEPT
          finishedTokens = finishedTokens | bit(t);
#endif
          used++; lease = 0; job = (used > 2 -> FAILED : QUEUED); word = APPLIED
       :: lease != t && (finishedTokens & bit(t)) -> word = REPLAYED
       :: else -> word = STALE fi
}
inline same() {     /* REPLAYED is the answer of APPLIED, told again */
    if :: first == NOTHING -> first = word
       :: else -> holds(REPLAY, word == first || (first == APPLIED && word == REPLAYED)) fi
}
active proctype Coordinator() {
end: do
  :: d_step { call == 0 && job == QUEUED && lease == 0 && token <= TOKENS && !agentHas -> call = 1; of_ = token;
#ifdef M_SAME_TOKEN
       times = 0;
#endif
       first = NOTHING }
  :: d_step { call == 1 && times < 3 -> times++;
#ifdef M_SAME_TOKEN
       of_ = token; if :: token < TOKENS -> token++ :: else fi;     /* a repeat with a new nonce */
#endif
       claim(of_); first = (first == NOTHING -> word : first);
       holds(REPLAY, !(first == GRANTED && word == REFUSED && lease != 0)); printf("org: claim t%d\n", of_) }
  :: d_step { call == 1 && first != NOTHING -> printf("agent: is sent t%d\n", of_);
       if :: lease == of_ -> agentHas = 1 :: else fi;
       if :: token == of_ -> token++ :: else fi; duplicate = of_; call = 0; times = 0; first = NOTHING }
  :: d_step { agentHas && !agentDone && call == 0 -> agentDone = 1 }
  :: d_step { agentDone && call == 0 -> call = 3; first = NOTHING; times = 0 }
  :: d_step { call == 3 && times < 3 -> times++; finish(of_); printf("org: finish t%d\n", of_); same() }
  :: d_step { call == 3 && first != NOTHING -> call = 0; agentHas = 0; agentDone = 0; times = 0; first = NOTHING }
  :: d_step { agentHas && call == 0 && !agentDone && job == SCHEDULED -> call = 2; first = NOTHING; times = 0 }
  :: d_step { call == 2 && times < 3 -> times++; start(of_); printf("org: start t%d\n", of_); same() }
  :: d_step { call == 2 && first != NOTHING -> call = 0; times = 0; first = NOTHING }
#ifdef F_LATE
  :: d_step { duplicate != 0 && call == 0 && !agentHas -> claim(duplicate); printf("org: claim t%d, late and again\n", duplicate); duplicate = 0 }
#endif
  od
}
active proctype Rest() { end: atomic { timeout -> holds(ENDING, lease == 0) } }
