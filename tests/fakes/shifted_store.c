/* Preloaded into a store of a test: its wall clock is the machine's plus the seconds in the file CLOCK_SHIFT_FILE, read at
   each look at it. Clocks that nobody sets stay right. It asks the kernel itself: the clock is read before libraries are up. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const long long *shift_seconds;

__attribute__((constructor)) static void find_shift(void) {
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *seen = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift_seconds, PROT_READ, MAP_SHARED, file, 0);
    if (seen == MAP_FAILED) _exit(127);
    shift_seconds = seen;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!failed && wall && shift_seconds) now->tv_sec += (time_t)*shift_seconds;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec told;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &told);
    now->tv_sec = told.tv_sec;
    now->tv_usec = told.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *kept) {
    struct timespec told;
    clock_gettime(CLOCK_REALTIME, &told);
    if (kept) *kept = told.tv_sec;
    return told.tv_sec;
}
