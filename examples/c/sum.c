// Four processes share an array of a million numbers: each claims a part, fills it, and adds its sum to an atomic.
//
//     cc -I include examples/c/sum.c -L capi/target/release -lshmkit -o sum
#include <shmkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, NUMBERS = 1000000 };

static void must(shmkit_status status) {
    if (status != SHMKIT_OK) {
        fprintf(stderr, "%s\n", shmkit_last_error());
        exit(1);
    }
}

static void work(const shmkit_array *array, const shmkit_atomic_array *total, size_t rank) {
    shmkit_claim part;
    must(shmkit_array_claim(array, rank * NUMBERS / PROCESSES, NUMBERS / PROCESSES, SHMKIT_CHANGE, SHMKIT_FOREVER, &part));
    int64_t sum = 0, *numbers = part.data;
    for (size_t i = 0; i < part.len; i++) sum += numbers[i] = (int64_t)(part.start + i);
    must(shmkit_claim_end(array, &part));
    must(shmkit_atomic_array_fetch_add(total, 0, &sum, NULL));
}

int main(void) {
    size_t numbers = NUMBERS, one = 1;
    shmkit_array *array;
    shmkit_atomic_array *total;
    shmkit_barrier *barrier;
    must(shmkit_array_create(NULL, NULL, &shmkit_i64, &numbers, 1, &array));
    must(shmkit_atomic_array_create(NULL, NULL, &shmkit_i64, &one, 1, &total));
    must(shmkit_barrier_create(NULL, NULL, PROCESSES + 1, &barrier));
    for (size_t rank = 0; rank < PROCESSES; rank++) {
        if (fork() == 0) {
            work(array, total, rank);
            must(shmkit_barrier_wait(barrier, SHMKIT_FOREVER, NULL));
            return 0;
        }
    }
    // If a process dies on the way this fails, and says which one.
    must(shmkit_barrier_wait(barrier, shmkit_timeout(60), NULL));
    int64_t sum;
    must(shmkit_atomic_array_load(total, 0, &sum));
    printf("sum of %d numbers by %d processes: %ld\n", NUMBERS, PROCESSES, (long)sum);
    while (wait(NULL) > 0) {}
    must(shmkit_array_close(array));
    must(shmkit_atomic_array_close(total));
    must(shmkit_barrier_close(barrier));
    return 0;
}
