// What survivors get when a process is killed: one that holds a lock or a claim, a party of a barrier, one that has permits or
// reads, a producer, who has places of a ring, an end of one, or makes an array grow.
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

struct pair {
    int64_t a, b;
};
static const shmkit_type pair_type = SHMKIT_TYPE(struct pair, "Pair");

// Forks a child that does something and kills itself.
#define CHILD_DIES(child, ...)                                                                                         \
    pid_t child = fork();                                                                                              \
    CHECK(child >= 0);                                                                                                 \
    if (child == 0) {                                                                                                  \
        alarm(100);                                                                                                    \
        __VA_ARGS__;                                                                                                   \
        die();                                                                                                         \
    }

static void a_holder(void) {
    shmkit_value *value;
    void *data;
    OK(shmkit_value_create(NULL, NULL, &pair_type, &value));
    OK(shmkit_value_data(value, &data));
    struct pair *pair = data;
    CHILD_DIES(child, OK(shmkit_value_lock(value, SHMKIT_FOREVER)); pair->a = 1)
    reap_killed(child);

    IS(SHMKIT_POISONED, shmkit_value_lock(value, LONG));
    CHECK(shmkit_last_pid() == (uint32_t)child && strstr(shmkit_last_error(), "died") != NULL);
    IS(SHMKIT_NOT_HELD, shmkit_value_unlock(value));
    IS(SHMKIT_POISONED, shmkit_value_lock(value, SHMKIT_TRY));
    bool poisoned;
    uint32_t pid;
    OK(shmkit_value_recover(value, LONG));
    OK(shmkit_value_poison(value, &poisoned, &pid));
    CHECK(poisoned && pid == (uint32_t)child && pair->a == 1 && pair->b == 0);
    pair->b = 1;
    OK(shmkit_value_clear_poison(value));
    OK(shmkit_value_poison(value, &poisoned, &pid));
    CHECK(!poisoned);
    OK(shmkit_value_unlock(value));
    OK(shmkit_value_lock(value, LONG));
    OK(shmkit_value_unlock(value));
    OK(shmkit_value_close(value));
}

// The child waits in the lock when its holder, its brother, is killed.
static void a_holder_for_whom_one_waits(void) {
    shmkit_lock *lock;
    shmkit_event *held;
    OK(shmkit_lock_create(NULL, NULL, &lock));
    OK(shmkit_event_create(NULL, NULL, false, &held));
    pid_t holder = fork();
    CHECK(holder >= 0);
    if (holder == 0) {
        alarm(100);
        OK(shmkit_lock_lock(lock, SHMKIT_FOREVER));
        OK(shmkit_event_set(held));
        for (;;) pause();
    }
    OK(shmkit_event_wait(held, LONG));
    pid_t waiter = fork();
    CHECK(waiter >= 0);
    if (waiter == 0) {
        alarm(100);
        IS(SHMKIT_POISONED, shmkit_lock_lock(lock, SHMKIT_FOREVER));
        CHECK(shmkit_last_pid() == (uint32_t)holder);
        _exit(0);
    }
    CHECK(kill(holder, SIGKILL) == 0);
    reap_killed(holder);
    reap(waiter);
    OK(shmkit_lock_recover(lock, LONG));
    OK(shmkit_lock_clear_poison(lock));
    OK(shmkit_lock_unlock(lock));
    OK(shmkit_event_close(held));
    OK(shmkit_lock_close(lock));
}

static void a_claimant(void) {
    shmkit_array *array;
    size_t n = 100, start, end;
    shmkit_claim claim;
    OK(shmkit_array_create(NULL, NULL, &shmkit_f64, &n, 1, &array));
    CHILD_DIES(child, OK(shmkit_array_claim(array, 10, 20, SHMKIT_CHANGE, SHMKIT_FOREVER, &claim));
               ((double *)claim.data)[0] = 1)
    reap_killed(child);
    OK(shmkit_array_claim(array, 50, 10, SHMKIT_CHANGE, LONG, &claim));
    OK(shmkit_claim_end(array, &claim));
    IS(SHMKIT_POISONED, shmkit_array_claim(array, 0, 15, SHMKIT_READ, LONG, &claim));
    CHECK(shmkit_last_range(&start, &end) && start == 10 && end == 30 && shmkit_last_pid() == (uint32_t)child);
    bool poisoned;
    uint32_t pid;
    OK(shmkit_array_recover_claim(array, 10, 20, LONG, &claim));
    OK(shmkit_claim_poison(array, &claim, &poisoned, &pid, &start, &end));
    CHECK(poisoned && pid == (uint32_t)child && start == 10 && end == 30);
    OK(shmkit_claim_clear_poison(array, &claim));
    OK(shmkit_claim_end(array, &claim));
    OK(shmkit_array_lock(array, LONG));
    OK(shmkit_array_unlock(array));
    OK(shmkit_array_close(array));
}

static void a_party(void) {
    shmkit_barrier *barrier;
    bool broken;
    OK(shmkit_barrier_create(NULL, NULL, 3, &barrier));
    CHILD_DIES(child, OK(shmkit_barrier_wait(barrier, SHMKIT_FOREVER, NULL)))
    pid_t other = fork();
    if (other == 0) {
        alarm(100);
        OK(shmkit_barrier_wait(barrier, LONG, NULL));
        IS(SHMKIT_BARRIER_BROKEN, shmkit_barrier_wait(barrier, SHMKIT_FOREVER, NULL));
        CHECK(shmkit_last_pid() == (uint32_t)child);
        _exit(0);
    }
    OK(shmkit_barrier_wait(barrier, LONG, NULL));
    IS(SHMKIT_BARRIER_BROKEN, shmkit_barrier_wait(barrier, SHMKIT_FOREVER, NULL));
    CHECK(shmkit_last_pid() == (uint32_t)child);
    reap_killed(child);
    reap(other);
    size_t parties, waiting;
    OK(shmkit_barrier_state(barrier, &parties, &waiting, &broken));
    CHECK(broken);
    OK(shmkit_barrier_reset(barrier));
    OK(shmkit_barrier_close(barrier));
}

static void permits_and_reads(void) {
    shmkit_bounded_semaphore *semaphore;
    shmkit_rwlock *rwlock;
    OK(shmkit_bounded_semaphore_create(NULL, NULL, 1, &semaphore));
    OK(shmkit_rwlock_create(NULL, NULL, &shmkit_i32, &rwlock));
    CHILD_DIES(reader, OK(shmkit_bounded_semaphore_acquire(semaphore, LONG)); OK(shmkit_rwlock_read(rwlock, LONG)))
    reap_killed(reader);
    OK(shmkit_bounded_semaphore_acquire(semaphore, LONG));
    OK(shmkit_bounded_semaphore_release(semaphore));
    OK(shmkit_rwlock_write(rwlock, LONG));
    OK(shmkit_rwlock_end_write(rwlock));
    CHILD_DIES(writer, OK(shmkit_rwlock_write(rwlock, LONG)))
    reap_killed(writer);
    IS(SHMKIT_POISONED, shmkit_rwlock_read(rwlock, LONG));
    CHECK(shmkit_last_pid() == (uint32_t)writer);
    OK(shmkit_rwlock_recover(rwlock, LONG));
    OK(shmkit_rwlock_clear_poison(rwlock));
    OK(shmkit_rwlock_end_write(rwlock));
    OK(shmkit_rwlock_read(rwlock, LONG));
    OK(shmkit_rwlock_end_read(rwlock));
    OK(shmkit_rwlock_close(rwlock));
    OK(shmkit_bounded_semaphore_close(semaphore));
}

// Killed in the middle of its work: what came out before is whole and in order, and others go on.
static void producers(void) {
    shmkit_ring *ring;
    shmkit_queue *queue;
    OK(shmkit_ring_create(NULL, NULL, &pair_type, 8, &ring));
    OK(shmkit_queue_create(NULL, NULL, 256, &queue));
    pid_t child = fork();
    if (child == 0) {
        alarm(100);
        for (struct pair pair = {0, 0};; pair.a++, pair.b -= 3) {
            OK(shmkit_ring_push(ring, &pair, SHMKIT_FOREVER));
            OK(shmkit_queue_put(queue, &pair, sizeof pair, SHMKIT_FOREVER));
        }
    }
    struct pair pair;
    size_t size;
    for (int64_t i = 0; i < 1000; i++) {
        OK(shmkit_ring_pop(ring, &pair, LONG));
        CHECK(pair.a == i && pair.b == -3 * i);
        OK(shmkit_queue_get(queue, &pair, sizeof pair, &size, LONG));
        CHECK(size == sizeof pair && pair.a == i && pair.b == -3 * i);
    }
    CHECK(kill(child, SIGKILL) == 0);
    reap_killed(child);
    while (shmkit_ring_pop(ring, &pair, SHMKIT_TRY) == SHMKIT_OK) CHECK(pair.b == -3 * pair.a);
    while (shmkit_queue_get(queue, &pair, sizeof pair, &size, SHMKIT_TRY) == SHMKIT_OK) CHECK(pair.b == -3 * pair.a);
    pair = (struct pair){77, 0};
    OK(shmkit_ring_push(ring, &pair, LONG));
    OK(shmkit_ring_pop(ring, &pair, LONG));
    OK(shmkit_queue_put(queue, &pair, sizeof pair, LONG));
    OK(shmkit_queue_get(queue, &pair, sizeof pair, &size, LONG));
    CHECK(pair.a == 77);
    IS(SHMKIT_DISCONNECTED, shmkit_queue_get(queue, &pair, sizeof pair, &size, LONG));
    OK(shmkit_ring_close(ring));
    OK(shmkit_queue_close(queue));
}

// What was reserved and not published is passed over; what was taken and not done is lost, and its place is room again.
static void places_of_a_ring(void) {
    shmkit_ring *ring;
    shmkit_slot slot;
    uint64_t message = 7;
    OK(shmkit_ring_create(NULL, NULL, &shmkit_u64, 2, &ring));
    CHILD_DIES(writer, OK(shmkit_ring_reserve(ring, SHMKIT_TRY, &slot)); *(uint64_t *)slot.data = 1)
    reap_killed(writer);
    OK(shmkit_ring_push(ring, &message, LONG));
    message = 0;
    OK(shmkit_ring_pop(ring, &message, LONG));
    CHECK(message == 7);
    for (uint64_t i = 1; i <= 2; i++) OK(shmkit_ring_push(ring, &i, LONG));
    CHILD_DIES(reader, OK(shmkit_ring_take(ring, SHMKIT_TRY, &slot)); CHECK(*(uint64_t *)slot.data == 1))
    reap_killed(reader);
    OK(shmkit_ring_push(ring, &message, LONG));
    OK(shmkit_ring_pop(ring, &message, LONG));
    CHECK(message == 2);
    // A fork has no places of its parent.
    OK(shmkit_ring_reserve(ring, LONG, &slot));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(100);
        IS(SHMKIT_NOT_HELD, shmkit_ring_publish(ring, &slot));
        _exit(0);
    }
    reap(child);
    OK(shmkit_ring_publish(ring, &slot));
    OK(shmkit_ring_close(ring));
}

// What a dead producer has put in arrives, and its role is free; what a dead consumer was to take stays.
static void ends_of_a_ring(void) {
    shmkit_spsc_ring *ring;
    shmkit_producer *producer;
    shmkit_consumer *consumer;
    OK(shmkit_spsc_ring_create(NULL, NULL, &shmkit_u64, 8, &ring));
    CHILD_DIES(first, OK(shmkit_producer_of(ring, &producer)); for (uint64_t i = 1; i <= 3; i++)
                   OK(shmkit_producer_push(producer, &i, LONG)))
    reap_killed(first);
    CHILD_DIES(second, uint64_t message; OK(shmkit_consumer_of(ring, &consumer));
               OK(shmkit_consumer_pop(consumer, &message, LONG)); CHECK(message == 1))
    reap_killed(second);
    uint64_t messages[8], more = 4;
    size_t done;
    OK(shmkit_producer_of(ring, &producer));
    OK(shmkit_consumer_of(ring, &consumer));
    OK(shmkit_producer_push(producer, &more, LONG));
    OK(shmkit_consumer_pop_many(consumer, messages, 8, LONG, &done));
    CHECK(done == 3 && messages[0] == 2 && messages[2] == 4);
    OK(shmkit_producer_close(producer));
    OK(shmkit_consumer_close(consumer));
    OK(shmkit_spsc_ring_close(ring));
}

// An array that was growing when somebody died has its old length or its new one, and no poison.
static void a_grower(void) {
    shmkit_array *array;
    size_t none = 0, len, before = 0;
    OK(shmkit_array_create_growable(NULL, NULL, &shmkit_u64, &none, 1, 1 << 22, &array));
    void *data;
    OK(shmkit_array_data(array, &data));
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(100);
            for (uint64_t i = before; i < 1 << 22; i++)
                if (shmkit_array_extend(array, &i, 1, LONG) != SHMKIT_OK) _exit(1);
            for (;;) pause();
        }
        do OK(shmkit_array_len(array, &len));
        while (len < before + 1000);
        CHECK(kill(child, SIGKILL) == 0);
        reap_killed(child);
        OK(shmkit_array_lock(array, LONG));
        OK(shmkit_array_unlock(array));
        OK(shmkit_array_len(array, &len));
        for (uint64_t i = before; i < len; i++) CHECK(((uint64_t *)data)[i] == i);
        before = len;
    }
    OK(shmkit_array_close(array));
}

// A child has its parent's handles, and none of the locks, reads, claims and messages that its parent has.
static void a_fork(void) {
    shmkit_lock *lock;
    shmkit_rwlock *rwlock;
    shmkit_array *array;
    shmkit_queue *queue;
    shmkit_claim claim;
    char text[8];
    size_t n = 10, size;
    OK(shmkit_lock_create(NULL, NULL, &lock));
    OK(shmkit_rwlock_create(NULL, NULL, &shmkit_i32, &rwlock));
    OK(shmkit_array_create(NULL, NULL, &shmkit_i32, &n, 1, &array));
    OK(shmkit_queue_create(NULL, NULL, 100, &queue));
    OK(shmkit_lock_lock(lock, SHMKIT_FOREVER));
    OK(shmkit_rwlock_read(rwlock, SHMKIT_FOREVER));
    OK(shmkit_array_claim(array, 0, 5, SHMKIT_CHANGE, SHMKIT_FOREVER, &claim));
    OK(shmkit_queue_put(queue, "once", 4, LONG));
    IS(SHMKIT_BUFFER_TOO_SHORT, shmkit_queue_get(queue, text, 3, &size, LONG));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(100);
        IS(SHMKIT_NOT_HELD, shmkit_lock_unlock(lock));
        IS(SHMKIT_WOULD_BLOCK, shmkit_lock_lock(lock, SHMKIT_TRY));
        OK(shmkit_lock_close(lock));
        IS(SHMKIT_NOT_HELD, shmkit_rwlock_end_read(rwlock));
        IS(SHMKIT_WOULD_BLOCK, shmkit_rwlock_write(rwlock, SHMKIT_TRY));
        OK(shmkit_rwlock_read(rwlock, LONG));
        OK(shmkit_rwlock_read(rwlock, LONG));
        OK(shmkit_rwlock_end_read(rwlock));
        OK(shmkit_rwlock_end_read(rwlock));
        IS(SHMKIT_NOT_HELD, shmkit_rwlock_end_read(rwlock));
        IS(SHMKIT_NOT_HELD, shmkit_claim_end(array, &claim));
        IS(SHMKIT_WOULD_BLOCK, shmkit_array_claim(array, 4, 1, SHMKIT_READ, SHMKIT_TRY, &claim));
        CHECK(shmkit_queue_get(queue, text, sizeof text, &size, SHMKIT_TRY) == SHMKIT_WOULD_BLOCK);
        _exit(0);
    }
    reap(child);
    OK(shmkit_lock_unlock(lock));
    OK(shmkit_claim_end(array, &claim));
    OK(shmkit_rwlock_end_read(rwlock));
    OK(shmkit_rwlock_write(rwlock, SHMKIT_TRY));
    OK(shmkit_rwlock_end_write(rwlock));
    OK(shmkit_queue_get(queue, text, sizeof text, &size, SHMKIT_TRY));
    CHECK(size == 4);
    OK(shmkit_lock_close(lock));
    OK(shmkit_rwlock_close(rwlock));
    OK(shmkit_array_close(array));
    OK(shmkit_queue_close(queue));
}

// Closed against the rules: the read stays, and is none of a lock that comes to lie where that one lay.
static void a_read_of_a_closed_lock(void) {
    shmkit_rwlock *rwlock;
    OK(shmkit_rwlock_create(NULL, NULL, &shmkit_i32, &rwlock));
    OK(shmkit_rwlock_read(rwlock, LONG));
    OK(shmkit_rwlock_close(rwlock));
    OK(shmkit_rwlock_create(NULL, NULL, &shmkit_i32, &rwlock));
    IS(SHMKIT_NOT_HELD, shmkit_rwlock_end_read(rwlock));
    OK(shmkit_rwlock_read(rwlock, LONG));
    OK(shmkit_rwlock_end_read(rwlock));
    OK(shmkit_rwlock_write(rwlock, SHMKIT_TRY));
    OK(shmkit_rwlock_end_write(rwlock));
    OK(shmkit_rwlock_close(rwlock));
}

static atomic_bool enough;

static void *open_and_close(void *argument) {
    shmkit_lock *lock;
    while (!enough) {
        if (shmkit_lock_create(NULL, NULL, &lock) != SHMKIT_OK || shmkit_lock_close(lock) != SHMKIT_OK) return NULL;
    }
    return argument;
}

// Children of a process whose other threads are at something hang in nothing, and can do all.
static void a_fork_beside_threads(void) {
    pthread_t threads[2];
    shmkit_barrier *barrier;
    OK(shmkit_barrier_create(NULL, NULL, 1, &barrier));
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, open_and_close, threads) == 0);
    for (int round = 0; round < 300; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(60);
            shmkit_lock *lock;
            shmkit_event *event;
            OK(shmkit_lock_create(NULL, NULL, &lock));
            OK(shmkit_lock_lock(lock, SHMKIT_TRY));
            OK(shmkit_lock_unlock(lock));
            OK(shmkit_lock_close(lock));
            OK(shmkit_event_create(NULL, NULL, false, &event));
            OK(shmkit_barrier_wait(barrier, LONG, NULL));
            OK(shmkit_event_close(event));
            OK(shmkit_barrier_close(barrier));
            _exit(0);
        }
        reap(child);
    }
    enough = true;
    for (int i = 0; i < 2; i++) {
        void *answer;
        CHECK(pthread_join(threads[i], &answer) == 0 && answer == threads);
    }
    OK(shmkit_barrier_close(barrier));
}

int main(void) {
    begin();
    a_holder();
    a_holder_for_whom_one_waits();
    a_claimant();
    a_party();
    permits_and_reads();
    producers();
    places_of_a_ring();
    ends_of_a_ring();
    a_grower();
    a_fork();
    a_read_of_a_closed_lock();
    a_fork_beside_threads();
    return 0;
}
