/* What is checked. `holds(p, x)` is the only assertion of the models; -DKEPT=p keeps one property alone, so that a
 * counterexample is one of the property that is asked for. */
#define VERDICT 1    /* P2: a round gets one verdict */
#define TOKEN   2    /* P3: a report changes something only with the lease that the job has */
#define DEVICE  3    /* P4: one living tree on a device */
#define FENCE   4    /* the token of a living tree is the lease of its job, at all times: so one tree of a job anywhere */
#define RESULT  5    /* a reconnect takes no lease whose result is spooled */
#define ROUND   6    /* a cancel or retry touches the round that it means, and no other */
#define ENDING  7    /* when nothing can move any more: no lease is left, and no job waits that could be served */
#define EQUALS  8    /* no two equal jobs are unfinished at once; no submission makes a second job */
#define BUDGET  9    /* no more retries than a budget allows, none charged twice, none charged to the wrong one */
#define REPLAY 10    /* a script that is run again with the same arguments answers the same and changes nothing */
#ifndef KEPT
#define KEPT 0
#endif
#define holds(p, x) assert((KEPT != 0 && KEPT != p) || (x))
