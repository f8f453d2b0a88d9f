// What the tests in C share: checks that say where they failed, and children that die.
#ifndef CHECK_H
#define CHECK_H

#include <shmkit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, shmkit_last_error());                   \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

#define OK(call) CHECK((call) == SHMKIT_OK)
#define IS(status, call) CHECK((call) == (status))

// Long enough for any machine; a test that waits so long has failed.
#define LONG shmkit_timeout(60)

// The program ends itself if it hangs.
static inline void begin(void) { alarm(100); }

// Reaps a child, which must have been killed.
static inline void reap_killed(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// Reaps a child, which must have ended well.
static inline void reap(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#endif
