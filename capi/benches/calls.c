// What a call costs from C: nanoseconds for each operation, the fastest of many runs. calls.rs does the same in Rust.
#include <shmkit.h>
#include <stdio.h>
#include <stdlib.h>

enum { CALLS = 200000, RUNS = 40 };

static void must(shmkit_status status) {
    if (status != SHMKIT_OK) {
        fprintf(stderr, "%s\n", shmkit_last_error());
        exit(1);
    }
}

#define MEASURE(name, ...)                                                                                             \
    do {                                                                                                               \
        int64_t best = INT64_MAX;                                                                                      \
        for (int run = 0; run < RUNS; run++) {                                                                         \
            int64_t start = shmkit_now();                                                                              \
            for (int i = 0; i < CALLS; i++) {                                                                          \
                __VA_ARGS__;                                                                                           \
            }                                                                                                          \
            int64_t time = shmkit_now() - start;                                                                       \
            if (time < best) best = time;                                                                              \
        }                                                                                                              \
        printf("%-24s %6.2f\n", name, (double)best / CALLS);                                                           \
    } while (0)

int main(void) {
    shmkit_lock *lock;
    shmkit_semaphore *semaphore;
    shmkit_ring *ring;
    shmkit_array *array;
    shmkit_rwlock *rwlock;
    size_t n = 1000;
    must(shmkit_lock_create(NULL, NULL, &lock));
    must(shmkit_semaphore_create(NULL, NULL, 1, &semaphore));
    must(shmkit_ring_create(NULL, NULL, &shmkit_u64, 64, &ring));
    must(shmkit_array_create(NULL, NULL, &shmkit_f64, &n, 1, &array));
    must(shmkit_rwlock_create(NULL, NULL, &shmkit_f64, &rwlock));
    shmkit_spsc_ring *pair;
    shmkit_producer *producer;
    shmkit_consumer *consumer;
    must(shmkit_spsc_ring_create(NULL, NULL, &shmkit_u64, 64, &pair));
    must(shmkit_producer_of(pair, &producer));
    must(shmkit_consumer_of(pair, &consumer));
    shmkit_atomic *atomic;
    must(shmkit_atomic_create(NULL, NULL, &shmkit_u64, NULL, &atomic));
    uint64_t message = 1;
    void *data;
    shmkit_claim claim;
    must(shmkit_array_claim(array, 0, 10, SHMKIT_CHANGE, SHMKIT_FOREVER, &claim));
    must(shmkit_claim_end(array, &claim));
    MEASURE("lock, unlock", must(shmkit_lock_lock(lock, SHMKIT_FOREVER)); must(shmkit_lock_unlock(lock)));
    MEASURE("array: lock, unlock", must(shmkit_array_lock(array, SHMKIT_FOREVER)); must(shmkit_array_unlock(array)));
    MEASURE("acquire, release", must(shmkit_semaphore_acquire(semaphore, SHMKIT_FOREVER));
            must(shmkit_semaphore_release(semaphore, 1)));
    MEASURE("ring: push, pop", must(shmkit_ring_push(ring, &message, SHMKIT_FOREVER));
            must(shmkit_ring_pop(ring, &message, SHMKIT_FOREVER)));
    MEASURE("two ends: push, pop", must(shmkit_producer_push(producer, &message, SHMKIT_FOREVER));
            must(shmkit_consumer_pop(consumer, &message, SHMKIT_FOREVER)));
    MEASURE("read, end", must(shmkit_rwlock_read(rwlock, SHMKIT_FOREVER)); must(shmkit_rwlock_end_read(rwlock)));
    MEASURE("claim, end", must(shmkit_array_claim(array, 0, 10, SHMKIT_CHANGE, SHMKIT_FOREVER, &claim));
            must(shmkit_claim_end(array, &claim)));
    MEASURE("fetch_add", must(shmkit_atomic_fetch_add(atomic, &message, NULL)));
    MEASURE("array: pointer", must(shmkit_array_data(array, &data)));
    return 0;
}
