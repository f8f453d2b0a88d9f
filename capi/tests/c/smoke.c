// Each kind of object does what it is for, in each form of waiting.
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

struct sample {
    uint32_t id;
    double weight[3];
};

static void waits(void) {
    int64_t now = shmkit_now();
    CHECK(now > 0 && shmkit_now() >= now);
    CHECK(shmkit_timeout(1e300).until == INT64_MAX && shmkit_timeout(-1).until >= now);
    CHECK(shmkit_deadline(-5).until == 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", SHMKIT_VERSION_MAJOR, SHMKIT_VERSION_MINOR, SHMKIT_VERSION_PATCH);
    CHECK(strcmp(shmkit_version(), version) == 0 && shmkit_abi() == SHMKIT_ABI);
    CHECK(strcmp(shmkit_status_name(SHMKIT_ROLE_TAKEN), "SHMKIT_ROLE_TAKEN") == 0);
    CHECK(strcmp(shmkit_status_name(-1), "") == 0);
}

static void *try_it(void *lock) { return shmkit_lock_lock(lock, SHMKIT_TRY) == SHMKIT_WOULD_BLOCK ? lock : NULL; }
static void *wait_for_it(void *lock) {
    bool late = shmkit_lock_lock(lock, shmkit_timeout(0.01)) == SHMKIT_TIMED_OUT &&
                shmkit_lock_lock(lock, shmkit_deadline(shmkit_now() + 1000000)) == SHMKIT_TIMED_OUT;
    return late && shmkit_lock_unlock(lock) == SHMKIT_NOT_HELD ? lock : NULL;
}

static bool thread_agrees(void *(*f)(void *), void *argument) {
    pthread_t thread;
    void *answer;
    CHECK(pthread_create(&thread, NULL, f, argument) == 0 && pthread_join(thread, &answer) == 0);
    return answer == argument;
}

static void locks(void) {
    shmkit_lock *lock;
    OK(shmkit_lock_create(NULL, NULL, &lock));
    IS(SHMKIT_NOT_HELD, shmkit_lock_unlock(lock));
    OK(shmkit_lock_lock(lock, SHMKIT_FOREVER));
    IS(SHMKIT_WOULD_BLOCK, shmkit_lock_lock(lock, SHMKIT_TRY));
    IS(SHMKIT_WOULD_DEADLOCK, shmkit_lock_lock(lock, SHMKIT_FOREVER));
    CHECK(thread_agrees(try_it, lock) && thread_agrees(wait_for_it, lock));
    OK(shmkit_lock_unlock(lock));
    IS(SHMKIT_NOT_HELD, shmkit_lock_unlock(lock));
    OK(shmkit_lock_close(lock));

    shmkit_rlock *rlock;
    OK(shmkit_rlock_create(NULL, NULL, &rlock));
    OK(shmkit_rlock_lock(rlock, SHMKIT_TRY));
    OK(shmkit_rlock_lock(rlock, LONG));
    OK(shmkit_rlock_unlock(rlock));
    OK(shmkit_rlock_unlock(rlock));
    IS(SHMKIT_NOT_HELD, shmkit_rlock_unlock(rlock));
    OK(shmkit_rlock_close(rlock));

    shmkit_rwlock *rwlock;
    OK(shmkit_rwlock_create(NULL, NULL, &shmkit_f64, &rwlock));
    void *data;
    OK(shmkit_rwlock_data(rwlock, &data));
    IS(SHMKIT_NOT_HELD, shmkit_rwlock_end_read(rwlock));
    IS(SHMKIT_NOT_HELD, shmkit_rwlock_end_write(rwlock));
    OK(shmkit_rwlock_write(rwlock, SHMKIT_FOREVER));
    *(double *)data = 1.5;
    IS(SHMKIT_WOULD_BLOCK, shmkit_rwlock_read(rwlock, SHMKIT_TRY));
    OK(shmkit_rwlock_end_write(rwlock));
    OK(shmkit_rwlock_read(rwlock, SHMKIT_FOREVER));
    OK(shmkit_rwlock_read(rwlock, SHMKIT_TRY));
    CHECK(*(double *)data == 1.5);
    IS(SHMKIT_WOULD_BLOCK, shmkit_rwlock_write(rwlock, SHMKIT_TRY));
    OK(shmkit_rwlock_end_read(rwlock));
    OK(shmkit_rwlock_end_read(rwlock));
    IS(SHMKIT_NOT_HELD, shmkit_rwlock_end_read(rwlock));
    OK(shmkit_rwlock_write(rwlock, SHMKIT_TRY));
    OK(shmkit_rwlock_end_write(rwlock));
    OK(shmkit_rwlock_close(rwlock));
}

static void data_in_a_region(void) {
    shmkit_region *region;
    shmkit_region_options options = {.size = 1 << 16};
    OK(shmkit_region_create(NULL, &options, &region));
    size_t size, left;
    OK(shmkit_region_size(region, &size, &left));
    CHECK(size >= 1 << 16 && left < size);

    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    shmkit_value *value, *same;
    OK(shmkit_value_create(region, "sample", &type, &value));
    IS(SHMKIT_ALREADY_EXISTS, shmkit_value_create(region, "sample", &type, &same));
    IS(SHMKIT_TYPE_MISMATCH, shmkit_value_open(region, "sample", &shmkit_i32, &same));
    IS(SHMKIT_NOT_FOUND, shmkit_value_open(region, "other", &type, &same));
    OK(shmkit_value_open(region, "sample", NULL, &same));
    shmkit_type found;
    OK(shmkit_value_type(same, &found));
    CHECK(strcmp(found.name, "Sample") == 0 && found.size == sizeof(struct sample));
    void *one, *two;
    OK(shmkit_value_data(value, &one));
    OK(shmkit_value_data(same, &two));
    OK(shmkit_value_lock(value, SHMKIT_FOREVER));
    *(struct sample *)one = (struct sample){7, {1, 2, 3}};
    IS(SHMKIT_WOULD_BLOCK, shmkit_value_lock(same, SHMKIT_TRY));
    OK(shmkit_value_unlock(same)); // the same lock, held by the same thread
    CHECK(((struct sample *)two)->id == 7);
    OK(shmkit_value_close(same));
    OK(shmkit_value_close(value));

    size_t shape[] = {4, 6}, of[8], rank, len;
    shmkit_array *array;
    OK(shmkit_array_create(region, NULL, &shmkit_i32, shape, 2, &array));
    OK(shmkit_array_len(array, &len));
    OK(shmkit_array_shape(array, of, 8, &rank));
    CHECK(len == 24 && rank == 2 && of[0] == 4 && of[1] == 6);
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_array_create(region, NULL, &shmkit_i32, shape, 0, &array));
    void *elements;
    OK(shmkit_array_data(array, &elements));

    shmkit_claim a, b, c;
    OK(shmkit_array_claim(array, 0, 12, SHMKIT_CHANGE, SHMKIT_FOREVER, &a));
    OK(shmkit_array_claim(array, 12, 12, SHMKIT_READ, SHMKIT_FOREVER, &b));
    OK(shmkit_array_claim(array, 20, 4, SHMKIT_READ, SHMKIT_TRY, &c));
    CHECK(a.data == elements && (int32_t *)b.data == (int32_t *)elements + 12 && b.len == 12);
    OK(shmkit_claim_end(array, &c));
    IS(SHMKIT_WOULD_BLOCK, shmkit_array_claim(array, 11, 2, SHMKIT_CHANGE, SHMKIT_TRY, &c));
    IS(SHMKIT_OUT_OF_RANGE, shmkit_array_claim(array, 20, 5, SHMKIT_READ, SHMKIT_TRY, &c));
    IS(SHMKIT_OUT_OF_RANGE, shmkit_array_claim(array, 1, SIZE_MAX, SHMKIT_READ, SHMKIT_TRY, &c));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_array_claim(array, 0, 1, (shmkit_mode)9, SHMKIT_TRY, &c));
    shmkit_claim copy = a;
    OK(shmkit_claim_end(array, &a));
    IS(SHMKIT_NOT_HELD, shmkit_claim_end(array, &a));
    IS(SHMKIT_NOT_HELD, shmkit_claim_end(array, &copy));
    OK(shmkit_claim_end(array, &b));
    OK(shmkit_array_claim(array, 0, 12, SHMKIT_CHANGE, SHMKIT_FOREVER, &a));
    IS(SHMKIT_NOT_HELD, shmkit_claim_end(array, &copy)); // of the one before
    OK(shmkit_claim_clear_poison(array, &a));
    OK(shmkit_claim_end(array, &a));
    bool poisoned;
    uint32_t pid;
    size_t start, end;
    OK(shmkit_array_claim(array, 3, 0, SHMKIT_CHANGE, SHMKIT_TRY, &a));
    OK(shmkit_claim_poison(array, &a, &poisoned, &pid, &start, &end));
    CHECK(!poisoned && pid == 0);
    OK(shmkit_claim_clear_poison(array, &a));
    OK(shmkit_claim_end(array, &a));
    IS(SHMKIT_NOT_HELD, shmkit_claim_end(array, &a));

    shmkit_array *another;
    OK(shmkit_array_create(region, NULL, &shmkit_i32, shape, 2, &another));
    OK(shmkit_array_claim(array, 0, 12, SHMKIT_CHANGE, SHMKIT_TRY, &a));
    OK(shmkit_array_claim(another, 0, 12, SHMKIT_CHANGE, SHMKIT_TRY, &b));
    IS(SHMKIT_NOT_HELD, shmkit_claim_end(another, &a));
    IS(SHMKIT_NOT_HELD, shmkit_claim_clear_poison(another, &a));
    IS(SHMKIT_NOT_HELD, shmkit_claim_poison(array, &b, NULL, NULL, NULL, NULL));
    OK(shmkit_claim_end(another, &b));
    OK(shmkit_claim_end(array, &a));
    OK(shmkit_array_close(another));
    OK(shmkit_array_close(array));
    OK(shmkit_region_remove(region, "sample"));
    OK(shmkit_region_close(region));
}

static void atomics(void) {
    shmkit_atomic_array *sums, *counts;
    size_t n = 10;
    OK(shmkit_atomic_array_create(NULL, NULL, &shmkit_f64, &n, 1, &sums));
    OK(shmkit_atomic_array_create(NULL, NULL, &shmkit_u32, &n, 1, &counts));
    double half = 0.5, old, sum;
    OK(shmkit_atomic_array_fetch_add(sums, 3, &half, NULL));
    OK(shmkit_atomic_array_fetch_add(sums, 3, &half, &old));
    OK(shmkit_atomic_array_load(sums, 3, &sum));
    CHECK(old == 0.5 && sum == 1.0);
    uint32_t expected = 1, new = 5;
    bool exchanged;
    OK(shmkit_atomic_array_compare_exchange(counts, 9, &expected, &new, &exchanged));
    CHECK(!exchanged && expected == 0);
    OK(shmkit_atomic_array_compare_exchange(counts, 9, &expected, &new, &exchanged));
    uint32_t before;
    OK(shmkit_atomic_array_swap(counts, 9, &expected, &before));
    CHECK(exchanged && before == 5);
    void *data;
    OK(shmkit_atomic_array_data(counts, &data));
    __atomic_store_n((uint32_t *)data + 2, 8, __ATOMIC_SEQ_CST);
    OK(shmkit_atomic_array_load(counts, 2, &before));
    CHECK(before == 8);
    IS(SHMKIT_OUT_OF_RANGE, shmkit_atomic_array_store(counts, 10, &new));
    static const shmkit_type half_of_it = {"f64", 4, 4};
    shmkit_atomic_array *wrong;
    IS(SHMKIT_TYPE_MISMATCH, shmkit_atomic_array_create(NULL, NULL, &half_of_it, &n, 1, &wrong));
    char bytes[sizeof(double) + 1];
    OK(shmkit_atomic_array_load(sums, 3, bytes + 1));
    memcpy(&sum, bytes + 1, sizeof sum);
    CHECK(sum == 1.0);
    OK(shmkit_atomic_array_store(sums, 4, bytes + 1));
    OK(shmkit_atomic_array_load(sums, 4, &sum));
    CHECK(sum == 1.0);
    OK(shmkit_atomic_array_close(sums));
    OK(shmkit_atomic_array_close(counts));
}

static void single_atomics(void) {
    shmkit_atomic *sum, *ready, *again;
    double first = 1.5, half = 0.5, old;
    OK(shmkit_atomic_create(NULL, NULL, &shmkit_f64, &first, &sum));
    OK(shmkit_atomic_fetch_add(sum, &half, &old));
    CHECK(old == 1.5);
    OK(shmkit_atomic_load(sum, &old));
    CHECK(old == 2.0);
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_atomic_load(sum, NULL));
    OK(shmkit_atomic_close(sum));

    shmkit_region *region;
    shmkit_region_options options = {.size = 1 << 16};
    OK(shmkit_region_create(NULL, &options, &region));
    bool no = false, yes = true, was, exchanged;
    OK(shmkit_atomic_create(region, "ready", &shmkit_bool, NULL, &ready));
    OK(shmkit_atomic_open_or_create(region, "ready", &shmkit_bool, &yes, &again));
    OK(shmkit_atomic_load(again, &was));
    CHECK(!was);
    OK(shmkit_atomic_compare_exchange(ready, &no, &yes, &exchanged));
    OK(shmkit_atomic_swap(again, &no, &was));
    CHECK(exchanged && was);
    void *byte;
    OK(shmkit_atomic_data(ready, &byte));
    *(volatile uint8_t *)byte = 0xfe;
    OK(shmkit_atomic_load(again, &was));
    CHECK(was == true);
    OK(shmkit_atomic_store(ready, &no));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_atomic_fetch_add(ready, &yes, NULL));
    IS(SHMKIT_TYPE_MISMATCH, shmkit_atomic_open(region, "ready", &shmkit_u8, &again));
    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_atomic_create(region, NULL, &type, NULL, &again));
    OK(shmkit_atomic_close(again));
    OK(shmkit_atomic_close(ready));

    shmkit_atomic_array *flags;
    size_t n = 3;
    OK(shmkit_atomic_array_create(region, "flags", &shmkit_bool, &n, 1, &flags));
    OK(shmkit_atomic_array_swap(flags, 2, &yes, &was));
    OK(shmkit_atomic_array_load(flags, 2, &no));
    CHECK(!was && no);
    OK(shmkit_atomic_array_close(flags));
    OK(shmkit_region_close(region));
}

static void growth(void) {
    size_t shape[] = {1, 3}, of[2], rank, len, most, n = 0;
    shmkit_region *region;
    shmkit_region_options options = {.size = 1 << 16, .max_size = 1 << 24};
    OK(shmkit_region_create(NULL, &options, &region));
    shmkit_array *array, *same;
    OK(shmkit_array_create_growable(region, "rows", &shmkit_f64, shape, 2, 100000, &array));
    OK(shmkit_array_open(region, "rows", &shmkit_f64, &same));
    void *data, *again;
    shmkit_claim claim;
    OK(shmkit_array_data(same, &data));
    OK(shmkit_array_claim(same, 0, 3, SHMKIT_CHANGE, SHMKIT_TRY, &claim));
    double row[] = {1, 2, 3};
    OK(shmkit_array_extend(array, row, 3, SHMKIT_TRY));
    OK(shmkit_claim_end(same, &claim));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_array_extend(array, row, 2, SHMKIT_TRY));
    OK(shmkit_array_grow(array, 50000, SHMKIT_FOREVER));
    OK(shmkit_array_grow(array, 7, SHMKIT_FOREVER));
    OK(shmkit_array_len(same, &len));
    OK(shmkit_array_shape(same, of, 2, &rank));
    OK(shmkit_array_capacity(same, &most));
    OK(shmkit_array_data(array, &again));
    CHECK(len == 150000 && rank == 2 && of[0] == 50000 && of[1] == 3 && most >= 300000);
    CHECK(((double *)data)[5] == 3 && ((double *)data)[6] == 0 && ((double *)data)[149999] == 0);
    OK(shmkit_array_claim(same, 149997, 3, SHMKIT_CHANGE, SHMKIT_TRY, &claim));
    CHECK((double *)claim.data == (double *)data + 149997);
    OK(shmkit_claim_end(same, &claim));
    // The holder of the lock grows it under that; others wait for it.
    OK(shmkit_array_lock(array, SHMKIT_FOREVER));
    OK(shmkit_array_extend(array, row, 3, SHMKIT_TRY));
    OK(shmkit_array_unlock(array));
    IS(SHMKIT_NOT_HELD, shmkit_array_unlock(array));
    IS(SHMKIT_REGION_FULL, shmkit_array_grow(array, SIZE_MAX / 16, SHMKIT_FOREVER));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_array_grow(array, SIZE_MAX, SHMKIT_FOREVER));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_array_create_growable(region, NULL, &shmkit_f64, shape, 2, 0, &same));
    OK(shmkit_array_close(array));
    OK(shmkit_array_close(same));
    OK(shmkit_region_grow(region, 1 << 23));
    size_t size, left;
    OK(shmkit_region_size(region, &size, &left));
    CHECK(size >= 1 << 23);
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_region_grow(region, 1 << 30));
    OK(shmkit_region_close(region));

    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    OK(shmkit_array_create_growable(NULL, NULL, &type, &n, 1, 1000, &array));
    struct sample sample = {4, {1, 2, 3}};
    char bytes[sizeof sample + 1];
    memcpy(bytes + 1, &sample, sizeof sample);
    for (int i = 0; i < 5; i++)
        OK(shmkit_array_extend(array, i % 2 ? (void *)(bytes + 1) : (void *)&sample, 1, SHMKIT_FOREVER));
    OK(shmkit_array_data(array, &data));
    CHECK(((struct sample *)data)[4].id == 4 && ((struct sample *)data)[4].weight[2] == 3);
    OK(shmkit_array_close(array));
    n = 4;
    OK(shmkit_array_create(NULL, NULL, &shmkit_f64, &n, 1, &array));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_array_extend(array, row, 3, SHMKIT_TRY));
    OK(shmkit_array_close(array));
}

static void views(void) {
    char name[64];
    snprintf(name, sizeof name, "shmkit-c-view-%d", (int)getpid());
    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    shmkit_array *array;
    shmkit_view *view;
    size_t shape[] = {2, 2}, of[2], rank, len;
    IS(SHMKIT_NOT_FOUND, shmkit_view_open(name, NULL, &view));
    OK(shmkit_array_create_growable(NULL, name, &type, shape, 2, 10, &array));
    void *data;
    OK(shmkit_array_data(array, &data));
    ((struct sample *)data)[3] = (struct sample){5, {1, 2, 3}};
    IS(SHMKIT_TYPE_MISMATCH, shmkit_view_open(name, &shmkit_f64, &view));
    OK(shmkit_view_open(name, NULL, &view));
    OK(shmkit_array_grow(array, 5, SHMKIT_FOREVER));
    OK(shmkit_view_len(view, &len));
    OK(shmkit_view_shape(view, of, 2, &rank));
    CHECK(len == 4 && rank == 2 && of[0] == 2 && of[1] == 2);
    struct sample some[2];
    OK(shmkit_view_load(view, 2, 2, some));
    CHECK(some[0].id == 0 && some[1].id == 5 && some[1].weight[2] == 3);
    char bytes[sizeof some + 1];
    OK(shmkit_view_load(view, 2, 2, bytes + 1));
    CHECK(memcmp(some, bytes + 1, sizeof some) == 0);
    const void *elements;
    OK(shmkit_view_data(view, &elements));
    CHECK(((const struct sample *)elements)[3].id == 5);
    IS(SHMKIT_OUT_OF_RANGE, shmkit_view_load(view, 3, 2, some));
    IS(SHMKIT_OUT_OF_RANGE, shmkit_view_load(view, 1, SIZE_MAX, some));
    shmkit_type found;
    OK(shmkit_view_type(view, &found));
    CHECK(strcmp(found.name, "Sample") == 0 && found.size == sizeof(struct sample));
    // Nobody can write there, not even the kernel for this process.
    int zeros = open("/dev/zero", O_RDONLY);
    CHECK(zeros >= 0 && read(zeros, (void *)(uintptr_t)elements, 4) == -1 && errno == EFAULT);
    close(zeros);
    OK(shmkit_view_close(view));
    OK(shmkit_array_close(array));
    OK(shmkit_unlink(name));

    shmkit_atomic *atomic;
    uint16_t value = 9, copy = 0;
    OK(shmkit_atomic_create(NULL, name, &shmkit_u16, &value, &atomic));
    OK(shmkit_view_open(name, &shmkit_u16, &view));
    OK(shmkit_view_shape(view, NULL, 0, &rank));
    OK(shmkit_view_load(view, 0, 1, &copy));
    CHECK(rank == 0 && copy == 9);
    OK(shmkit_view_close(view));
    OK(shmkit_atomic_close(atomic));
    OK(shmkit_unlink(name));
    shmkit_lock *lock;
    OK(shmkit_lock_create(NULL, name, &lock));
    IS(SHMKIT_TYPE_MISMATCH, shmkit_view_open(name, NULL, &view));
    OK(shmkit_lock_close(lock));
    OK(shmkit_unlink(name));
}

static void signals(void) {
    shmkit_semaphore *semaphore;
    size_t value;
    OK(shmkit_semaphore_create(NULL, NULL, 1, &semaphore));
    OK(shmkit_semaphore_acquire(semaphore, SHMKIT_FOREVER));
    IS(SHMKIT_WOULD_BLOCK, shmkit_semaphore_acquire(semaphore, SHMKIT_TRY));
    IS(SHMKIT_TIMED_OUT, shmkit_semaphore_acquire(semaphore, shmkit_timeout(0.01)));
    IS(SHMKIT_TIMED_OUT, shmkit_semaphore_acquire(semaphore, shmkit_deadline(1)));
    OK(shmkit_semaphore_release(semaphore, 3));
    OK(shmkit_semaphore_value(semaphore, &value));
    CHECK(value == 3);
    OK(shmkit_semaphore_close(semaphore));

    shmkit_bounded_semaphore *bounded;
    size_t permits;
    OK(shmkit_bounded_semaphore_create(NULL, NULL, 2, &bounded));
    IS(SHMKIT_NOT_HELD, shmkit_bounded_semaphore_release(bounded));
    OK(shmkit_bounded_semaphore_acquire(bounded, SHMKIT_FOREVER));
    OK(shmkit_bounded_semaphore_acquire(bounded, SHMKIT_TRY));
    IS(SHMKIT_WOULD_BLOCK, shmkit_bounded_semaphore_acquire(bounded, SHMKIT_TRY));
    OK(shmkit_bounded_semaphore_release(bounded));
    OK(shmkit_bounded_semaphore_value(bounded, &value, &permits));
    CHECK(value == 1 && permits == 2);
    OK(shmkit_bounded_semaphore_release(bounded));
    IS(SHMKIT_NOT_HELD, shmkit_bounded_semaphore_release(bounded));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_bounded_semaphore_create(NULL, NULL, 0, &bounded));
    OK(shmkit_bounded_semaphore_close(bounded));

    shmkit_event *event;
    bool set;
    OK(shmkit_event_create(NULL, NULL, true, &event));
    IS(SHMKIT_WOULD_BLOCK, shmkit_event_wait(event, SHMKIT_TRY));
    OK(shmkit_event_set(event));
    OK(shmkit_event_wait(event, SHMKIT_FOREVER));
    OK(shmkit_event_is_set(event, &set));
    CHECK(!set);
    OK(shmkit_event_clear(event));
    OK(shmkit_event_close(event));

    // As a compiler of Fortran passes true whose numbers are not those of C.
    shmkit_status (*create)(const shmkit_region *, const char *, unsigned char, shmkit_event **) =
        (shmkit_status(*)(const shmkit_region *, const char *, unsigned char, shmkit_event **))(void (*)(void))shmkit_event_create;
    OK(create(NULL, NULL, 255, &event));
    OK(shmkit_event_set(event));
    OK(shmkit_event_wait(event, SHMKIT_TRY));
    IS(SHMKIT_WOULD_BLOCK, shmkit_event_wait(event, SHMKIT_TRY));
    OK(shmkit_event_close(event));
}

static int add_one(void *count) {
    ++*(int *)count;
    return 0;
}
static int fail(void *ignored) { return ignored == NULL ? 3 : 4; }

static void barriers(void) {
    shmkit_barrier *barrier;
    size_t parties, waiting, index = 7;
    bool broken;
    int count = 0;
    OK(shmkit_barrier_create(NULL, NULL, 1, &barrier));
    OK(shmkit_barrier_wait(barrier, SHMKIT_FOREVER, &index));
    OK(shmkit_barrier_wait_with(barrier, add_one, &count, SHMKIT_FOREVER, NULL));
    CHECK(index == 0 && count == 1);
    IS(SHMKIT_FAILED, shmkit_barrier_wait_with(barrier, fail, NULL, SHMKIT_FOREVER, NULL));
    CHECK(strstr(shmkit_last_error(), "returned 3") != NULL);
    IS(SHMKIT_BARRIER_BROKEN, shmkit_barrier_wait(barrier, SHMKIT_FOREVER, NULL));
    OK(shmkit_barrier_state(barrier, &parties, &waiting, &broken));
    CHECK(parties == 1 && waiting == 0 && broken);
    OK(shmkit_barrier_reset(barrier));
    OK(shmkit_barrier_wait(barrier, shmkit_timeout(1), NULL));
    OK(shmkit_barrier_abort(barrier));
    OK(shmkit_barrier_close(barrier));

    OK(shmkit_barrier_create(NULL, NULL, 2, &barrier));
    OK(shmkit_barrier_set_timeout(barrier, 0.01));
    IS(SHMKIT_TIMED_OUT, shmkit_barrier_wait(barrier, SHMKIT_FOREVER, NULL));
    OK(shmkit_barrier_close(barrier));
}

struct shared {
    shmkit_lock *lock;
    shmkit_condvar *condvar;
    bool ready;
};

static void *make_ready(void *argument) {
    struct shared *shared = argument;
    bool ok = shmkit_lock_lock(shared->lock, LONG) == SHMKIT_OK;
    shared->ready = true;
    ok = ok && shmkit_condvar_notify_all(shared->condvar) == SHMKIT_OK;
    return ok && shmkit_lock_unlock(shared->lock) == SHMKIT_OK ? argument : NULL;
}

static void conditions(void) {
    struct shared shared = {0};
    size_t woken, waiting;
    OK(shmkit_lock_create(NULL, NULL, &shared.lock));
    OK(shmkit_condvar_create(NULL, NULL, &shared.condvar));
    IS(SHMKIT_NOT_HELD, shmkit_condvar_wait(shared.condvar, shared.lock, LONG));
    OK(shmkit_lock_lock(shared.lock, SHMKIT_FOREVER));
    IS(SHMKIT_TIMED_OUT, shmkit_condvar_wait(shared.condvar, shared.lock, shmkit_timeout(0.01)));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_condvar_wait(shared.condvar, shared.lock, SHMKIT_TRY));
    IS(SHMKIT_BAD_HANDLE, shmkit_condvar_wait(shared.condvar, shared.condvar, LONG));
    IS(SHMKIT_BAD_HANDLE, shmkit_condvar_wait(shared.condvar, NULL, LONG));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, make_ready, &shared) == 0);
    while (!shared.ready) OK(shmkit_condvar_wait(shared.condvar, shared.lock, LONG));
    OK(shmkit_lock_unlock(shared.lock));
    void *answer;
    CHECK(pthread_join(thread, &answer) == 0 && answer == &shared);
    OK(shmkit_condvar_notify(shared.condvar, 2, &woken));
    OK(shmkit_condvar_n_waiting(shared.condvar, &waiting));
    CHECK(woken == 0 && waiting == 0);

    shmkit_value *value;
    OK(shmkit_value_create(NULL, NULL, &shmkit_u8, &value));
    OK(shmkit_value_lock(value, SHMKIT_FOREVER));
    IS(SHMKIT_TIMED_OUT, shmkit_condvar_wait(shared.condvar, value, shmkit_timeout(0.01)));
    OK(shmkit_value_unlock(value));
    OK(shmkit_value_close(value));
    OK(shmkit_condvar_close(shared.condvar));
    OK(shmkit_lock_close(shared.lock));
}

static void spsc(void) {
    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    shmkit_spsc_ring *ring;
    shmkit_producer *producer;
    shmkit_consumer *consumer, *second;
    OK(shmkit_spsc_ring_create(NULL, NULL, &type, 4, &ring));
    OK(shmkit_producer_of(ring, &producer));
    OK(shmkit_consumer_of(ring, &consumer));
    struct sample in[6] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}, {5, {0}}, {6, {9, 8, 7}}}, out[6];
    size_t done, len, capacity;
    IS(SHMKIT_WOULD_BLOCK, shmkit_consumer_pop(consumer, out, SHMKIT_TRY));
    IS(SHMKIT_TIMED_OUT, shmkit_consumer_pop(consumer, out, shmkit_timeout(0.01)));
    OK(shmkit_producer_push(producer, &in[5], SHMKIT_FOREVER));
    OK(shmkit_producer_push(producer, &in[0], SHMKIT_TRY));
    OK(shmkit_consumer_pop(consumer, out, SHMKIT_FOREVER));
    CHECK(out[0].id == 6 && out[0].weight[2] == 7);
    // Round the end of the ring.
    OK(shmkit_producer_push_many(producer, &in[1], 5, SHMKIT_FOREVER, &done));
    CHECK(done == 3);
    IS(SHMKIT_WOULD_BLOCK, shmkit_producer_push(producer, in, SHMKIT_TRY));
    OK(shmkit_spsc_ring_state(ring, &len, &capacity));
    CHECK(len == 4 && capacity == 4);
    OK(shmkit_consumer_pop_many(consumer, out, 6, SHMKIT_FOREVER, &done));
    CHECK(done == 4 && out[0].id == 1 && out[1].id == 2 && out[3].id == 4);
    OK(shmkit_producer_push_many(producer, in, 0, SHMKIT_FOREVER, &done));
    CHECK(done == 0);
    OK(shmkit_consumer_of(ring, &second));
    IS(SHMKIT_ROLE_TAKEN, shmkit_consumer_pop(second, out, SHMKIT_TRY));
    CHECK(shmkit_last_pid() == (uint32_t)getpid());
    OK(shmkit_consumer_close(consumer));
    OK(shmkit_producer_push(producer, &in[2], SHMKIT_FOREVER));
    OK(shmkit_producer_end(producer));
    OK(shmkit_consumer_pop(second, out, LONG));
    CHECK(out[0].id == 3);
    IS(SHMKIT_CLOSED, shmkit_consumer_pop(second, out, SHMKIT_FOREVER));
    IS(SHMKIT_CLOSED, shmkit_producer_push(producer, in, SHMKIT_FOREVER));
    IS(SHMKIT_BAD_HANDLE, shmkit_producer_push((shmkit_producer *)second, in, SHMKIT_TRY));
    OK(shmkit_producer_close(producer));
    OK(shmkit_consumer_close(second));
    OK(shmkit_spsc_ring_close(ring));
}

static void channels(void) {
    static const shmkit_type type = SHMKIT_TYPE(struct sample, "Sample");
    shmkit_ring *ring;
    OK(shmkit_ring_create(NULL, NULL, &type, 4, &ring));
    struct sample in[6] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}, {5, {0}}, {6, {9, 8, 7}}}, out[6];
    size_t done, len, capacity;
    bool ended;
    IS(SHMKIT_WOULD_BLOCK, shmkit_ring_pop(ring, out, SHMKIT_TRY));
    OK(shmkit_ring_push(ring, &in[5], SHMKIT_FOREVER));
    OK(shmkit_ring_push_many(ring, in, 6, SHMKIT_FOREVER, &done));
    CHECK(done == 3);
    IS(SHMKIT_TIMED_OUT, shmkit_ring_push(ring, in, shmkit_timeout(0.01)));
    OK(shmkit_ring_state(ring, &len, &capacity, &ended));
    CHECK(len == 4 && capacity == 4 && !ended);
    OK(shmkit_ring_state(ring, NULL, &capacity, NULL));
    OK(shmkit_ring_state(ring, &len, &len, NULL));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_ring_push_many(ring, in, 1, SHMKIT_TRY, NULL));
    OK(shmkit_ring_push_many(ring, NULL, 0, SHMKIT_TRY, &done));
    OK(shmkit_ring_pop_many(ring, NULL, 0, SHMKIT_TRY, &done));
    CHECK(len == 4 && done == 0);
    OK(shmkit_ring_pop(ring, out, SHMKIT_FOREVER));
    CHECK(out[0].id == 6 && out[0].weight[2] == 7);
    OK(shmkit_ring_pop_many(ring, out, 6, SHMKIT_FOREVER, &done));
    CHECK(done == 3 && out[0].id == 1 && out[2].id == 3);
    shmkit_slot slot, copy;
    OK(shmkit_ring_reserve(ring, SHMKIT_TRY, &slot));
    *(struct sample *)slot.data = in[3];
    IS(SHMKIT_WOULD_BLOCK, shmkit_ring_pop(ring, out, SHMKIT_TRY));
    copy = slot;
    IS(SHMKIT_NOT_HELD, shmkit_ring_done(ring, &slot));
    shmkit_ring *another;
    OK(shmkit_ring_create(NULL, NULL, &type, 4, &another));
    for (int i = 0; i < 5; i++) OK(shmkit_ring_push(another, in, SHMKIT_TRY) == SHMKIT_OK ? SHMKIT_OK : shmkit_ring_pop(another, out, SHMKIT_TRY));
    shmkit_slot others;
    OK(shmkit_ring_take(another, SHMKIT_TRY, &others));
    IS(SHMKIT_NOT_HELD, shmkit_ring_done(ring, &others));
    OK(shmkit_ring_done(another, &others));
    OK(shmkit_ring_close(another));
    OK(shmkit_ring_publish(ring, &slot));
    IS(SHMKIT_NOT_HELD, shmkit_ring_publish(ring, &copy));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_ring_publish(ring, NULL));
    copy.at = 1000;
    IS(SHMKIT_NOT_HELD, shmkit_ring_give_up(ring, &copy));
    OK(shmkit_ring_take(ring, SHMKIT_TRY, &slot));
    copy = slot;
    CHECK(((struct sample *)slot.data)->id == 4);
    IS(SHMKIT_WOULD_BLOCK, shmkit_ring_take(ring, SHMKIT_TRY, &slot));
    OK(shmkit_ring_done(ring, &copy));
    IS(SHMKIT_NOT_HELD, shmkit_ring_done(ring, &slot));
    OK(shmkit_ring_reserve(ring, SHMKIT_TRY, &slot));
    OK(shmkit_ring_give_up(ring, &slot));
    IS(SHMKIT_TIMED_OUT, shmkit_ring_take(ring, shmkit_timeout(0.01), &slot));
    OK(shmkit_ring_end(ring));
    IS(SHMKIT_CLOSED, shmkit_ring_pop(ring, out, SHMKIT_FOREVER));
    IS(SHMKIT_CLOSED, shmkit_ring_push(ring, in, SHMKIT_FOREVER));
    OK(shmkit_ring_close(ring));

    spsc();

    shmkit_queue *queue;
    char buffer[16];
    size_t size;
    OK(shmkit_queue_create(NULL, NULL, 1024, &queue));
    IS(SHMKIT_WOULD_BLOCK, shmkit_queue_get(queue, buffer, 16, &size, SHMKIT_TRY));
    OK(shmkit_queue_put(queue, "hello, world", 12, SHMKIT_FOREVER));
    OK(shmkit_queue_put(queue, NULL, 0, SHMKIT_FOREVER));
    IS(SHMKIT_BUFFER_TOO_SHORT, shmkit_queue_get(queue, buffer, 5, &size, SHMKIT_FOREVER));
    CHECK(size == 12);
    OK(shmkit_queue_get(queue, buffer, 16, &size, SHMKIT_FOREVER));
    CHECK(size == 12 && memcmp(buffer, "hello, world", 12) == 0);
    OK(shmkit_queue_get(queue, NULL, 0, &size, SHMKIT_FOREVER));
    CHECK(size == 0);
    OK(shmkit_queue_task_done(queue));
    IS(SHMKIT_TIMED_OUT, shmkit_queue_join(queue, shmkit_timeout(0.01)));
    OK(shmkit_queue_task_done(queue));
    OK(shmkit_queue_join(queue, SHMKIT_FOREVER));
    void *large = calloc(1, 5000);
    IS(SHMKIT_TOO_LARGE, shmkit_queue_put(queue, large, 5000, SHMKIT_FOREVER));
    free(large);
    OK(shmkit_queue_end(queue));
    IS(SHMKIT_CLOSED, shmkit_queue_get(queue, buffer, 16, &size, SHMKIT_FOREVER));
    OK(shmkit_queue_state(queue, &len, &capacity, &ended));
    CHECK(len == 0 && capacity >= 1024 && ended);
    OK(shmkit_queue_close(queue));
}

struct race {
    shmkit_ring *ring;
    shmkit_slot slot;
    bool to_write;
    pthread_barrier_t *start;
    shmkit_status status;
};

static void *give_back(void *argument) {
    struct race *race = argument;
    pthread_barrier_wait(race->start);
    race->status = race->to_write ? shmkit_ring_publish(race->ring, &race->slot) : shmkit_ring_done(race->ring, &race->slot);
    return argument;
}

// Of two threads with copies of a place one gives it back.
static void a_place_in_two_hands(void) {
    shmkit_ring *ring;
    pthread_barrier_t start;
    OK(shmkit_ring_create(NULL, NULL, &shmkit_u64, 2, &ring));
    CHECK(pthread_barrier_init(&start, NULL, 2) == 0);
    for (int round = 0; round < 400; round++) {
        struct race mine = {.ring = ring, .start = &start, .to_write = round % 2 == 0};
        if (mine.to_write) {
            OK(shmkit_ring_reserve(ring, SHMKIT_TRY, &mine.slot));
        } else {
            OK(shmkit_ring_take(ring, SHMKIT_TRY, &mine.slot));
        }
        struct race other = mine;
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, give_back, &other) == 0);
        give_back(&mine);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK((mine.status == SHMKIT_OK) != (other.status == SHMKIT_OK));
        CHECK(mine.status == SHMKIT_NOT_HELD || other.status == SHMKIT_NOT_HELD);
        size_t len;
        OK(shmkit_ring_state(ring, &len, NULL, NULL));
        CHECK(len == (size_t)mine.to_write);
    }
    OK(shmkit_ring_close(ring));
    pthread_barrier_destroy(&start);
}

static void names(void) {
    char name[64], path[128];
    snprintf(name, sizeof name, "shmkit-c-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/shmkit-c-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    const char *places[] = {name, path};
    for (int i = 0; i < 2; i++) {
        shmkit_array *made, *found;
        size_t n = 5;
        IS(SHMKIT_NOT_FOUND, shmkit_array_open(NULL, places[i], NULL, &found));
        OK(shmkit_array_create(NULL, places[i], &shmkit_i64, &n, 1, &made));
        IS(SHMKIT_ALREADY_EXISTS, shmkit_array_create(NULL, places[i], &shmkit_i64, &n, 1, &found));
        OK(shmkit_array_open_or_create(NULL, places[i], &shmkit_i64, &n, 1, &found));
        OK(shmkit_array_close(found));
        OK(shmkit_array_open(NULL, places[i], &shmkit_i64, &found));
        OK(shmkit_array_close(found));
        OK(shmkit_array_close(made));
        OK(shmkit_unlink(places[i]));
        IS(SHMKIT_NOT_FOUND, shmkit_unlink(places[i]));
    }
    shmkit_lock *lock;
    IS(SHMKIT_INVALID_NAME, shmkit_lock_create(NULL, "", &lock));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_lock_open(NULL, NULL, &lock));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_lock_open(NULL, "\xff", &lock));
    CHECK(strstr(shmkit_last_error(), "UTF-8") != NULL);
}

static void wrong_handles(void) {
    shmkit_lock *lock;
    shmkit_event *event;
    OK(shmkit_lock_create(NULL, NULL, &lock));
    OK(shmkit_event_create(NULL, NULL, false, &event));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_lock(NULL, SHMKIT_TRY));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_lock((shmkit_lock *)event, SHMKIT_TRY));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_close((shmkit_lock *)event));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_lock_create(NULL, NULL, NULL));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_event_is_set(event, NULL));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_create((shmkit_region *)event, "x", &lock));
    OK(shmkit_lock_close(lock));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_lock(lock, SHMKIT_TRY));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_close(lock));
    CHECK(strlen(shmkit_last_error()) > 0);
    OK(shmkit_lock_close(NULL));
    OK(shmkit_event_close(event));

    // One that is made next has the place of the closed one, and is another.
    shmkit_lock *again;
    OK(shmkit_lock_create(NULL, NULL, &again));
    CHECK(again == lock);
    IS(SHMKIT_NOT_HELD, shmkit_lock_unlock(lock));
    OK(shmkit_lock_close(again));
    IS(SHMKIT_BAD_HANDLE, shmkit_lock_unlock(lock));

    // A name is not left behind by what has no place for its handle.
    shmkit_region *region;
    shmkit_region_options options = {.size = 1 << 16};
    OK(shmkit_region_create(NULL, &options, &region));
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_lock_create(region, "in vain", NULL));
    IS(SHMKIT_NOT_FOUND, shmkit_lock_open(region, "in vain", &lock));
    // A type of the same name and another size, which takes as much room.
    static const shmkit_type small = {"Message", 4, 4}, large = {"Message", 8, 8};
    shmkit_ring *ring;
    OK(shmkit_ring_create(region, "messages", &small, 4, &ring));
    OK(shmkit_ring_close(ring));
    IS(SHMKIT_TYPE_MISMATCH, shmkit_ring_open(region, "messages", &large, &ring));
    options.reserved[3] = 1;
    shmkit_region *other;
    IS(SHMKIT_INVALID_ARGUMENT, shmkit_region_create(NULL, &options, &other));
    char name[300];
    memset(name, 'T', sizeof name);
    shmkit_value *value;
    for (size_t length = 255; length <= 256; length++) {
        name[length] = '\0';
        shmkit_type type = {name, 4, 4};
        shmkit_status status = shmkit_value_create(region, NULL, &type, &value);
        CHECK(status == (length == 255 ? SHMKIT_OK : SHMKIT_INVALID_ARGUMENT));
        name[length] = 'T';
    }
    shmkit_type found;
    OK(shmkit_value_type(value, &found));
    CHECK(strlen(found.name) == 255);
    OK(shmkit_value_close(value));
    OK(shmkit_region_close(region));
}

static void *has_no_error(void *argument) {
    if (shmkit_last_error()[0] != '\0' || shmkit_last_pid() != 0) return NULL;
    return shmkit_lock_unlock(argument) == SHMKIT_NOT_HELD ? argument : NULL;
}

static void errors(void) {
    shmkit_lock *lock;
    OK(shmkit_lock_create(NULL, NULL, &lock));
    IS(SHMKIT_BAD_HANDLE, shmkit_event_set(NULL));
    char before[200];
    snprintf(before, sizeof before, "%s", shmkit_last_error());
    CHECK(strlen(before) > 0 && thread_agrees(has_no_error, lock));
    CHECK(strcmp(shmkit_last_error(), before) == 0);
    OK(shmkit_lock_close(lock));
}

int main(void) {
    begin();
    waits();
    locks();
    data_in_a_region();
    atomics();
    single_atomics();
    growth();
    views();
    signals();
    barriers();
    conditions();
    channels();
    a_place_in_two_hands();
    names();
    wrong_handles();
    errors();
    return 0;
}
