// Two numbers whose sum is always 100, in shared memory with a lock. A process that moves some from one to the other is killed
// half-way; the next one to lock is told, and repairs what it finds.
//
//     cc -I include examples/c/recover.c -L capi/target/release -lshmkit -o recover
#include <shmkit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(shmkit_status status) {
    if (status != SHMKIT_OK) {
        fprintf(stderr, "%s\n", shmkit_last_error());
        exit(1);
    }
}

int main(void) {
    size_t two = 2;
    shmkit_array *accounts;
    void *data;
    must(shmkit_array_create(NULL, NULL, &shmkit_i64, &two, 1, &accounts));
    must(shmkit_array_data(accounts, &data));
    int64_t *account = data;
    account[0] = 100;

    pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
        must(shmkit_array_lock(accounts, SHMKIT_FOREVER));
        account[0] -= 30;
        kill(getpid(), SIGKILL); // and account[1] += 30 never happens
    }

    waitpid(child, NULL, 0);
    shmkit_status status = shmkit_array_lock(accounts, shmkit_timeout(10));
    if (status == SHMKIT_POISONED) {
        printf("%s\n", shmkit_last_error());
        must(shmkit_array_recover(accounts, SHMKIT_FOREVER));
        account[0] = 100 - account[1];
        must(shmkit_array_clear_poison(accounts));
        printf("repaired: %ld + %ld = %ld\n", (long)account[0], (long)account[1], (long)(account[0] + account[1]));
    } else {
        must(status);
    }
    must(shmkit_array_unlock(accounts));
    must(shmkit_array_close(accounts));
    return 0;
}
