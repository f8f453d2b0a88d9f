// shmkit: shared-memory values, arrays and locks that survive the death of any process.
//
// Every function returns a shmkit_status: SHMKIT_OK, which is 0, or what went wrong; shmkit_last_error() has the text. Results
// are left through pointers, and only if it is SHMKIT_OK. Of several results each that is not wanted may be NULL; but not a
// handle, a claim, a slot, nor how many messages were passed or how long one is. errno is not kept.
//
//     shmkit_lock *lock;
//     if (shmkit_lock_create(NULL, "my-lock", &lock) != SHMKIT_OK) fail(shmkit_last_error());
//     if (shmkit_lock_lock(lock, SHMKIT_FOREVER) == SHMKIT_POISONED) { /* somebody died with it */ }
//
// Where objects are. Those that take a region and a name make or find an object in that region. Without a region (NULL) the
// object has memory of its own, and the name is that of a POSIX shared-memory object or, if there is a slash in it, the path
// of a file; a NULL name makes an anonymous one, which forks of this process share. shmkit_unlink() removes a name or file.
//
// How long calls wait. Whatever may have to wait takes a shmkit_wait: SHMKIT_FOREVER, SHMKIT_TRY (not at all),
// shmkit_timeout(seconds) or shmkit_deadline(nanoseconds on CLOCK_MONOTONIC).
//
// A signal that is handled during a wait does not end it. No function may be called by a handler of signals.
//
// What belongs to whom. A lock belongs to the thread that took it, and so do reads, writes and claims: a thread ends what it
// has begun. Places of rings, permits and ends of rings are the process's. Handles may be used by all threads of a process and,
// after a fork, by the child, which has none of the locks, reads, claims, places and permits that its parent has. If a process
// dies, by whatever signal, its locks go to the next one who asks, who is told by SHMKIT_POISONED that the data may be half
// changed, and by shmkit_last_pid() whose death it was. If a thread ends with a lock or a claim and its process lives on, others
// wait until that ends too, for its other threads may be at the data; a read that a thread forgot lasts as long as its process.
//
// Forks. A child of a process with other threads may call all of this: what the library has for itself is free there, whatever
// those threads were at. It is the C library that says what else such a child may do, and the functions here allocate memory
// and may start a thread: glibc allows both after fork(), but not after _Fork() or vfork(). Where a thread was just opening or
// closing something, the child may see a region that it opens again as another one: it has both handles, but a second
// read or lock through the other one is not noticed to be its own.
//
// Threads. The first barrier, ring, queue, read-write lock, bounded semaphore or condition of a region has the library start
// a thread, which sleeps, takes no signals and by which others see that this process lives. It needs no care.
//
// What callers must see to. Pointers are NULL or to what the function says: strings that end with a NUL, buffers as long as
// is said, handles. A handle that is NULL, of another kind or closed is SHMKIT_BAD_HANDLE, closed ones as long as no new
// handle of that kind was given out. Do not close a handle that another thread is using, or while you hold its lock: the lock
// would stay held until the process ends.
//
// This file is written by cbindgen from src/ffi: do not change it by hand.


#ifndef SHMKIT_H
#define SHMKIT_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
// On what would be a mistake to ignore: a lock that was not taken, a result that is not there.
#if defined(__cplusplus) && __cplusplus >= 201703L
#define SHMKIT_CHECKED [[nodiscard]]
#elif defined(__GNUC__)
#define SHMKIT_CHECKED __attribute__((warn_unused_result))
#else
#define SHMKIT_CHECKED
#endif

#if defined(__cplusplus)
#define SHMKIT_FOREVER (shmkit_wait{INT64_MAX})
#define SHMKIT_TRY (shmkit_wait{-1})
#else
// As long as it takes.
#define SHMKIT_FOREVER ((shmkit_wait){INT64_MAX})
// Not at all: what cannot be done at once is SHMKIT_WOULD_BLOCK.
#define SHMKIT_TRY ((shmkit_wait){-1})
#endif

// The shmkit_type of a struct of C, if a #[repr(C)] struct of this name is the same in Rust.
#define SHMKIT_TYPE(type, name) {name, sizeof(type), alignof(type)}


// The number of the ABI: programs that were compiled with another one need another library. While it is 0 any version of
// shmkit may change it. What never changes: statuses keep their numbers, and new ones get new numbers.
#define SHMKIT_ABI 0

// The version of this header.
#define SHMKIT_VERSION_MAJOR 0

#define SHMKIT_VERSION_MINOR 1

#define SHMKIT_VERSION_PATCH 0

// What every function returns: `SHMKIT_OK`, which is 0, or what went wrong.
typedef enum shmkit_status {
    // It is done.
    SHMKIT_OK = 0,
    // With SHMKIT_TRY: it could not be done at once.
    SHMKIT_WOULD_BLOCK = 1,
    // The time-out or deadline passed.
    SHMKIT_TIMED_OUT = 2,
    // A process died while it held the lock. What was to take the lock has not taken it, and `..._recover` does all the
    // same; but shmkit_condvar_wait has it, as always. shmkit_last_pid() says who died, shmkit_last_range() which elements
    // it was changing.
    SHMKIT_POISONED = 3,
    // This thread holds the lock already: it would wait for itself.
    SHMKIT_WOULD_DEADLOCK = 4,
    // This thread does not hold what it wanted to release.
    SHMKIT_NOT_HELD = 5,
    // The handle is null, was closed, or is one of another kind.
    SHMKIT_BAD_HANDLE = 6,
    // An argument is null that must not be, or means nothing here.
    SHMKIT_INVALID_ARGUMENT = 7,
    // The barrier is broken until it is reset. shmkit_last_pid() says who died, if that was the cause.
    SHMKIT_BARRIER_BROKEN = 8,
    // The ring or queue is closed, and empty for those who take out.
    SHMKIT_CLOSED = 9,
    // Nobody else has the queue any more, and so what is waited for never comes.
    SHMKIT_DISCONNECTED = 10,
    // Processes died before they declared done what they had taken from a queue.
    SHMKIT_TASKS_LOST = 11,
    // The message is longer than the queue has room for.
    SHMKIT_TOO_LARGE = 12,
    // The message is longer than the buffer: it waits for a longer one.
    SHMKIT_BUFFER_TOO_SHORT = 13,
    // There is something of this name already.
    SHMKIT_ALREADY_EXISTS = 14,
    // There is nothing of this name.
    SHMKIT_NOT_FOUND = 15,
    // It is being made, or its maker died on the way: `..._open_or_create` finishes it.
    SHMKIT_NOT_READY = 16,
    // The name cannot be a name.
    SHMKIT_INVALID_NAME = 17,
    // What was found is no region of shmkit, or its contents contradict themselves.
    SHMKIT_CORRUPT = 18,
    // The region was made by a version of shmkit with another layout, or on another kind of machine.
    SHMKIT_VERSION_MISMATCH = 19,
    // The region is another user's, others may write to it, or it belongs to another pid namespace.
    SHMKIT_WRONG_OWNER = 20,
    // The object has another kind, type or shape.
    SHMKIT_TYPE_MISMATCH = 21,
    // An index or range lies outside the array.
    SHMKIT_OUT_OF_RANGE = 22,
    // As many threads, processes or claims as there is room for.
    SHMKIT_TOO_MANY = 23,
    // The region has no room for the object.
    SHMKIT_REGION_FULL = 24,
    // The machine has no memory for it.
    SHMKIT_OUT_OF_MEMORY = 25,
    // The region was opened for reading only.
    SHMKIT_READ_ONLY = 26,
    // The machine, kernel or file system lacks it.
    SHMKIT_UNSUPPORTED = 27,
    // The system refused.
    SHMKIT_OS = 28,
    // A bug in shmkit, or in the function that was to be called. shmkit_last_error() has the message.
    SHMKIT_PANICKED = 29,
    // Whatever else there is.
    SHMKIT_OTHER = 30,
    // The role at this end of the ring is another's.
    SHMKIT_ROLE_TAKEN = 31,
    // The function that was to be called returned that it failed.
    SHMKIT_FAILED = 32,
} shmkit_status;

// What a claim is for.
typedef enum shmkit_mode {
    // Several may read the same elements.
    SHMKIT_READ = 1,
    // One alone may change them.
    SHMKIT_CHANGE = 2,
} shmkit_mode;

// An array of plain data, of 1 to 8 dimensions, with a lock.
typedef struct shmkit_array shmkit_array;

// An atomic number or bool, without a lock.
typedef struct shmkit_atomic shmkit_atomic;

// An array of atomic numbers or bools, without a lock.
typedef struct shmkit_atomic_array shmkit_atomic_array;

// Parties that wait for each other. The death of one breaks it, and the others are told whose it was.
typedef struct shmkit_barrier shmkit_barrier;

// A number of permits with owners: those of a process that dies come back, and no more are given back than were taken.
typedef struct shmkit_bounded_semaphore shmkit_bounded_semaphore;

// Where holders of a lock, of whatever kind, wait for a change of what it guards.
typedef struct shmkit_condvar shmkit_condvar;

// The end of a ring that takes out, of which the same holds.
typedef struct shmkit_consumer shmkit_consumer;

// A flag that others wait for.
typedef struct shmkit_event shmkit_event;

// A lock between threads and processes, which the death of its holder does not leave locked.
typedef struct shmkit_lock shmkit_lock;

// The end of a ring that puts in: the role that it takes with the first message is nobody else's until it is closed, or its
// process dies. One thread at a time uses it.
typedef struct shmkit_producer shmkit_producer;

// A bounded queue of messages of any length, many in and many out. For Rust a `Queue<Vec<u8>>`. What was put in arrives
// once, unless the process that takes it dies with it.
typedef struct shmkit_queue shmkit_queue;

// Memory that many objects share: anonymous (for this process and its forks), under a name, or in a file.
typedef struct shmkit_region shmkit_region;

// A bounded queue of messages of one type, many in and many out, without a lock. What was put in arrives once, unless
// the process that takes it dies with it; a slot that a dead one had is passed over.
typedef struct shmkit_ring shmkit_ring;

// A lock that its holder may take again. It is free when it has been released as often as it was taken.
typedef struct shmkit_rlock shmkit_rlock;

// A value that many read or one writes. Readers that die are struck out, a writer that dies poisons.
typedef struct shmkit_rwlock shmkit_rwlock;

// A count of permits that anybody gives and takes. Permits of the dead are lost; see shmkit_bounded_semaphore.
typedef struct shmkit_semaphore shmkit_semaphore;

// A bounded queue of messages of one type with one producer and one consumer: faster than a shmkit_ring. For Rust an
// `SpscRing`. What was put in arrives, also if its producer dies; what a consumer was taking when it died stays for the next.
typedef struct shmkit_spsc_ring shmkit_spsc_ring;

// One value of plain data with a lock.
typedef struct shmkit_value shmkit_value;

// The elements of an array, a value or atomics, in memory that this process cannot write. It needs no more than the
// permission to read, and disturbs nobody.
typedef struct shmkit_view shmkit_view;

// How long a call may wait: SHMKIT_FOREVER, SHMKIT_TRY, shmkit_timeout(seconds) or shmkit_deadline(nanoseconds).
typedef struct shmkit_wait {
    // The end, in nanoseconds on CLOCK_MONOTONIC. INT64_MAX: no end. Negative: no wait.
    int64_t until;
} shmkit_wait;

// How a region is made.
typedef struct shmkit_region_options {
    // Bytes, which are rounded up to whole pages.
    size_t size;
    // How many processes can be members: those that use barriers, rings, queues and the like. 0: as many as fit the size.
    size_t members;
    // Whether memory is taken when it is touched, not when the region is made.
    bool sparse;
    // Whether core dumps contain it.
    bool core_dump;
    // Bytes that it can grow to, for which it takes addresses and no memory. 0: it does not grow.
    size_t max_size;
    // For what may come: zeros.
    uint64_t reserved[4];
} shmkit_region_options;

// The type of elements. A program in Rust has the same one if its name there, without the path, its size and its alignment
// are the same: "f64", or "Sample" for a `#[repr(C)] struct Sample`. All its bits must be data: no pointers.
typedef struct shmkit_type {
    // Its name in Rust. It must stand as long as it is used.
    const char *name;
    // Bytes of one element.
    size_t size;
    // Where elements lie: at multiples of so many bytes.
    size_t align;
} shmkit_type;

// A claim on some elements of an array. It is the thread's that made it.
typedef struct shmkit_claim {
    // The first of the elements.
    void *data;
    // Its index.
    size_t start;
    // How many there are.
    size_t len;
    // Not for the caller: which claim it is, 0 once it has ended.
    uint64_t id;
} shmkit_claim;

// A place of a ring that this process has: to write a message where it will be read, or to read one where it lies.
typedef struct shmkit_slot {
    // The message, until the place is given back or the ring's handle is closed.
    void *data;
    // Not for the caller, as what follows: which place it is.
    size_t at;
    uint32_t lap;
    uint32_t to_write;
} shmkit_slot;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// int8_t
extern const shmkit_type shmkit_i8;

// int16_t
extern const shmkit_type shmkit_i16;

// int32_t
extern const shmkit_type shmkit_i32;

// int64_t
extern const shmkit_type shmkit_i64;

// uint8_t
extern const shmkit_type shmkit_u8;

// uint16_t
extern const shmkit_type shmkit_u16;

// uint32_t
extern const shmkit_type shmkit_u32;

// uint64_t
extern const shmkit_type shmkit_u64;

// float
extern const shmkit_type shmkit_f32;

// double
extern const shmkit_type shmkit_f64;

// bool: a byte, of which anything but 0 is true. Only atomics have this type in Rust.
extern const shmkit_type shmkit_bool;

// The text of the last failure in this thread, or an empty one. It stands until the next failure in this thread.
const char *shmkit_last_error(void);

// The process whose death the last failure in this thread tells of, or which has the role that was wanted; 0 if it tells of
// none, or it is not known.
uint32_t shmkit_last_pid(void);

// The elements that a dead process was changing, from `*start` to before `*end`, as the last failure in this thread tells.
// Returns false if it tells of none in particular: then it may be all of them.
bool shmkit_last_range(size_t *start,
                       size_t *end);

// The name of a status, such as "SHMKIT_OK"; an empty text if there is none of this number.
const char *shmkit_status_name(int32_t status);

// SHMKIT_ABI of the library: not that of the header if the program was compiled with another version.
uint32_t shmkit_abi(void);

// The version of the library, such as "0.1.0".
const char *shmkit_version(void);

// The time of CLOCK_MONOTONIC in nanoseconds, for shmkit_deadline.
int64_t shmkit_now(void);

// At most so many seconds from now; then SHMKIT_TIMED_OUT. What is negative or no number is 0, which leaves one attempt.
shmkit_wait shmkit_timeout(double seconds);

// Until CLOCK_MONOTONIC shows so many nanoseconds; then SHMKIT_TIMED_OUT. One that has passed leaves one attempt.
shmkit_wait shmkit_deadline(int64_t nanoseconds);

// Makes a region: anonymous if `name` is null.
SHMKIT_CHECKED
shmkit_status shmkit_region_create(const char *name,
                                   const shmkit_region_options *options,
                                   shmkit_region **region);

// Finds a region, or makes it: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_region_open_or_create(const char *name,
                                           const shmkit_region_options *options,
                                           shmkit_region **region);

// Finds a region. SHMKIT_NOT_FOUND if there is none; SHMKIT_VERSION_MISMATCH if a version of shmkit with another layout
// made it, and shmkit_last_error() has both versions.
SHMKIT_CHECKED shmkit_status shmkit_region_open(const char *name, shmkit_region **region);

// Ends a handle. The memory goes with the last object in it that is open.
shmkit_status shmkit_region_close(shmkit_region *region);

// Makes it larger while others have it: up to what it was made for. Nothing moves. If it has as many bytes, nothing happens.
shmkit_status shmkit_region_grow(const shmkit_region *region,
                                 size_t size);

// Its bytes, and how many of them are free.
shmkit_status shmkit_region_size(const shmkit_region *region, size_t *size, size_t *left);

// Removes an object from a region. Those who have it open keep it; its space is not used again.
shmkit_status shmkit_region_remove(const shmkit_region *region, const char *name);

// Removes the name or file of a region, or of an object that has a region of its own. Those who have it open keep it.
shmkit_status shmkit_unlink(const char *name);

// Makes a lock. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous.
SHMKIT_CHECKED
shmkit_status shmkit_lock_create(const shmkit_region *region,
                                 const char *name,
                                 shmkit_lock **lock);

// Finds a lock, or makes it as shmkit_lock_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_lock_open_or_create(const shmkit_region *region,
                                         const char *name,
                                         shmkit_lock **lock);

// Finds a lock: in a region, or at a name or file.
SHMKIT_CHECKED shmkit_status shmkit_lock_open(const shmkit_region *region, const char *name, shmkit_lock **lock);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_lock_close(shmkit_lock *lock);

// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_lock_recover takes it all
// the same. The lock belongs to the thread: the same one must release it.
SHMKIT_CHECKED
shmkit_status shmkit_lock_lock(const shmkit_lock *lock,
                               shmkit_wait wait);

// Takes the lock, poisoned or not: shmkit_lock_poison tells, and shmkit_lock_clear_poison ends it after the repair.
SHMKIT_CHECKED shmkit_status shmkit_lock_recover(const shmkit_lock *lock, shmkit_wait wait);

// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
shmkit_status shmkit_lock_unlock(const shmkit_lock *lock);

// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
shmkit_status shmkit_lock_poison(const shmkit_lock *lock, bool *poisoned, uint32_t *pid);

// Declares what the lock guards, which this thread holds, to be whole again.
shmkit_status shmkit_lock_clear_poison(const shmkit_lock *lock);

// Makes a lock. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous.
SHMKIT_CHECKED
shmkit_status shmkit_rlock_create(const shmkit_region *region,
                                  const char *name,
                                  shmkit_rlock **rlock);

// Finds a lock, or makes it as shmkit_rlock_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_rlock_open_or_create(const shmkit_region *region,
                                          const char *name,
                                          shmkit_rlock **rlock);

// Finds a lock: in a region, or at a name or file.
SHMKIT_CHECKED shmkit_status shmkit_rlock_open(const shmkit_region *region, const char *name, shmkit_rlock **rlock);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_rlock_close(shmkit_rlock *rlock);

// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_rlock_recover takes it all
// the same. The lock belongs to the thread: the same one must release it.
SHMKIT_CHECKED
shmkit_status shmkit_rlock_lock(const shmkit_rlock *rlock,
                                shmkit_wait wait);

// Takes the lock, poisoned or not: shmkit_rlock_poison tells, and shmkit_rlock_clear_poison ends it after the repair.
SHMKIT_CHECKED shmkit_status shmkit_rlock_recover(const shmkit_rlock *rlock, shmkit_wait wait);

// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
shmkit_status shmkit_rlock_unlock(const shmkit_rlock *rlock);

// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
shmkit_status shmkit_rlock_poison(const shmkit_rlock *rlock, bool *poisoned, uint32_t *pid);

// Declares what the lock guards, which this thread holds, to be whole again.
shmkit_status shmkit_rlock_clear_poison(const shmkit_rlock *rlock);

// Makes a value. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. It begins as zero.
SHMKIT_CHECKED
shmkit_status shmkit_value_create(const shmkit_region *region,
                                  const char *name,
                                  const shmkit_type *type_,
                                  shmkit_value **value);

// Finds a value, or makes it as shmkit_value_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_value_open_or_create(const shmkit_region *region,
                                          const char *name,
                                          const shmkit_type *type_,
                                          shmkit_value **value);

// Finds a value: in a region, or at a name or file. If `type` is null it may have any, which shmkit_value_type tells.
SHMKIT_CHECKED
shmkit_status shmkit_value_open(const shmkit_region *region,
                                const char *name,
                                const shmkit_type *type_,
                                shmkit_value **value);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_value_close(shmkit_value *value);

// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_value_recover takes it all
// the same. The lock belongs to the thread: the same one must release it.
SHMKIT_CHECKED
shmkit_status shmkit_value_lock(const shmkit_value *value,
                                shmkit_wait wait);

// Takes the lock, poisoned or not: shmkit_value_poison tells, and shmkit_value_clear_poison ends it after the repair.
SHMKIT_CHECKED shmkit_status shmkit_value_recover(const shmkit_value *value, shmkit_wait wait);

// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
shmkit_status shmkit_value_unlock(const shmkit_value *value);

// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
shmkit_status shmkit_value_poison(const shmkit_value *value, bool *poisoned, uint32_t *pid);

// Declares what the lock guards, which this thread holds, to be whole again.
shmkit_status shmkit_value_clear_poison(const shmkit_value *value);

// Where the value lies, until the handle is closed. It may be touched while the lock is held.
shmkit_status shmkit_value_data(const shmkit_value *value, void **data);

// The type of the value. Its name stands until the handle is closed.
shmkit_status shmkit_value_type(const shmkit_value *value, shmkit_type *type_);

// Makes an array. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. `shape` has `rank` lengths,
// 1 to 8. All elements begin as zeros.
SHMKIT_CHECKED
shmkit_status shmkit_array_create(const shmkit_region *region,
                                  const char *name,
                                  const shmkit_type *type_,
                                  const size_t *shape,
                                  size_t rank,
                                  shmkit_array **array);

// Makes an array that can grow at its end while others have it, up to `most` rows (elements, if it has one dimension), as
// shmkit_array_create does. It has addresses for all of them from the start, and memory for those that there are. In a
// region the room for `most` rows is the array's, and the region grows with it if it can.
SHMKIT_CHECKED
shmkit_status shmkit_array_create_growable(const shmkit_region *region,
                                           const char *name,
                                           const shmkit_type *type_,
                                           const size_t *shape,
                                           size_t rank,
                                           size_t most,
                                           shmkit_array **array);

// Finds an array, or makes it as shmkit_array_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_array_open_or_create(const shmkit_region *region,
                                          const char *name,
                                          const shmkit_type *type_,
                                          const size_t *shape,
                                          size_t rank,
                                          shmkit_array **array);

// Finds an array: in a region, or at a name or file. If `type` is null it may have any,
// which shmkit_array_type tells.
SHMKIT_CHECKED
shmkit_status shmkit_array_open(const shmkit_region *region,
                                const char *name,
                                const shmkit_type *type_,
                                shmkit_array **array);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_array_close(shmkit_array *array);

// Takes the lock. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_array_recover takes it all
// the same. The lock belongs to the thread: the same one must release it.
SHMKIT_CHECKED
shmkit_status shmkit_array_lock(const shmkit_array *array,
                                shmkit_wait wait);

// Takes the lock, poisoned or not: shmkit_array_poison tells, and shmkit_array_clear_poison ends it after the repair.
SHMKIT_CHECKED shmkit_status shmkit_array_recover(const shmkit_array *array, shmkit_wait wait);

// Releases the lock. SHMKIT_NOT_HELD if this thread does not hold it.
shmkit_status shmkit_array_unlock(const shmkit_array *array);

// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
shmkit_status shmkit_array_poison(const shmkit_array *array, bool *poisoned, uint32_t *pid);

// Declares what the lock guards, which this thread holds, to be whole again.
shmkit_status shmkit_array_clear_poison(const shmkit_array *array);

// Where the elements lie, in row-major order, until the handle is closed. They may be touched while the lock is held, or a
// claim of them.
shmkit_status shmkit_array_data(const shmkit_array *array,
                                void **data);

// Appends a copy of `count` elements, which are whole rows, to an array that can grow. Nothing moves: pointers and claims stay
// what they are, in every process, and all see the old length or the new one, with all of its elements. It takes the lock,
// unless this thread holds it already. A death meanwhile leaves either length, and no poison if the lock was not held.
// SHMKIT_REGION_FULL: there would be more than the array was made for.
shmkit_status shmkit_array_extend(const shmkit_array *array,
                                  const void *elements,
                                  size_t count,
                                  shmkit_wait wait);

// Appends zeros to an array that can grow, as shmkit_array_extend does, until there are `rows` rows (elements, if it has one
// dimension). If there are as many already, nothing happens.
shmkit_status shmkit_array_grow(const shmkit_array *array,
                                size_t rows,
                                shmkit_wait wait);

// The most elements that it can have: as many as it has, unless it can grow.
shmkit_status shmkit_array_capacity(const shmkit_array *array, size_t *most);

// The number of elements, as it is now.
shmkit_status shmkit_array_len(const shmkit_array *array, size_t *len);

// The number of dimensions, 1 to 8, and their lengths, of which as many are written to `shape` as `room` says.
shmkit_status shmkit_array_shape(const shmkit_array *array, size_t *shape, size_t room, size_t *rank);

// The type of the elements. Its name stands until the handle is closed.
shmkit_status shmkit_array_type(const shmkit_array *array, shmkit_type *type_);

// Claims `len` elements from `start` on, to read or to change them, until shmkit_claim_end. Claims that are in each other's
// way wait for each other, across threads and processes; so does shmkit_array_lock. SHMKIT_POISONED: who had claimed
// some of them to change them died; shmkit_last_range() tells which, and shmkit_array_recover_claim claims them all the same.
// `mode` is SHMKIT_READ or SHMKIT_CHANGE. The data of the claim stands until it ends or the array's handle is closed.
SHMKIT_CHECKED
shmkit_status shmkit_array_claim(const shmkit_array *array,
                                 size_t start,
                                 size_t len,
                                 int32_t mode,
                                 shmkit_wait wait,
                                 shmkit_claim *claimed);

// Claims elements to change them, poisoned or not: shmkit_claim_poison tells, shmkit_claim_clear_poison ends it.
SHMKIT_CHECKED
shmkit_status shmkit_array_recover_claim(const shmkit_array *array,
                                         size_t start,
                                         size_t len,
                                         shmkit_wait wait,
                                         shmkit_claim *claimed);

// Ends a claim. SHMKIT_NOT_HELD if it has ended, is another thread's, or one on another array.
shmkit_status shmkit_claim_end(const shmkit_array *array, shmkit_claim *claim);

// Whether any of the elements, which this thread has claimed, is poisoned, by whose death, and which of them.
shmkit_status shmkit_claim_poison(const shmkit_array *array,
                                  const shmkit_claim *claim,
                                  bool *poisoned,
                                  uint32_t *pid,
                                  size_t *start,
                                  size_t *end);

// Declares the elements, which this thread has claimed to change them, to be whole again.
shmkit_status shmkit_claim_clear_poison(const shmkit_array *array, const shmkit_claim *claim);

// Finds an array, a value, an atomic or an array of atomics at a name or file, to read it. If `type` is null it may have any,
// which shmkit_view_type tells. Of an array that grows the view has what is there now.
SHMKIT_CHECKED
shmkit_status shmkit_view_open(const char *name,
                               const shmkit_type *type_,
                               shmkit_view **view);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_view_close(shmkit_view *view);

// Copies `count` elements from `at` on, in row-major order, as they are now. There is no lock in this, so others may write
// meanwhile: each number is whole, and of a struct each aligned part of up to 8 bytes.
SHMKIT_CHECKED
shmkit_status shmkit_view_load(const shmkit_view *view,
                               size_t at,
                               size_t count,
                               void *buffer);

// Where the elements lie, in row-major order, until the handle is closed. A write there ends the process. Others may write
// while they are read.
shmkit_status shmkit_view_data(const shmkit_view *view,
                               const void **data);

// The number of elements; 1 of a single one.
shmkit_status shmkit_view_len(const shmkit_view *view, size_t *len);

// The number of dimensions, 0 of a single element, and their lengths, of which as many are written to `shape` as `room` says.
shmkit_status shmkit_view_shape(const shmkit_view *view,
                                size_t *shape,
                                size_t room,
                                size_t *rank);

// The type of the elements. Its name stands until the handle is closed.
shmkit_status shmkit_view_type(const shmkit_view *view, shmkit_type *type_);

// Makes an atomic. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own,
// under `name` or anonymous. `type` is one of the numbers above, or shmkit_bool. It begins as `*first`, or as zero if that is
// null.
SHMKIT_CHECKED
shmkit_status shmkit_atomic_create(const shmkit_region *region,
                                   const char *name,
                                   const shmkit_type *type_,
                                   const void *first,
                                   shmkit_atomic **atomic);

// Finds an atomic, or makes it as shmkit_atomic_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_atomic_open_or_create(const shmkit_region *region,
                                           const char *name,
                                           const shmkit_type *type_,
                                           const void *first,
                                           shmkit_atomic **atomic);

// Finds an atomic: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_atomic_open(const shmkit_region *region,
                                 const char *name,
                                 const shmkit_type *type_,
                                 shmkit_atomic **atomic);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_atomic_close(shmkit_atomic *atomic);

// Where it lies, until the handle is closed. In C it may be used as an _Atomic number of its type; a bool as an _Atomic
// uint8_t, of which anything but 0 is true.
shmkit_status shmkit_atomic_data(const shmkit_atomic *atomic, void **data);

// Reads it. This and all below are sequentially consistent.
SHMKIT_CHECKED shmkit_status shmkit_atomic_load(const shmkit_atomic *atomic, void *value);

// Writes it.
shmkit_status shmkit_atomic_store(const shmkit_atomic *atomic, const void *value);

// Replaces it. `*old` is what it was; it may be null.
shmkit_status shmkit_atomic_swap(const shmkit_atomic *atomic, const void *value, void *old);

// Adds to a number; integers wrap. `*old` is what it was; it may be null.
shmkit_status shmkit_atomic_fetch_add(const shmkit_atomic *atomic, const void *operand, void *old);

// Replaces it if it is `*expected`, bit by bit; if not, `*expected` becomes what it is. `*exchanged` tells which.
shmkit_status shmkit_atomic_compare_exchange(const shmkit_atomic *atomic,
                                             void *expected,
                                             const void *value,
                                             bool *exchanged);

// Makes an array of atomics. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of
// its own, under `name` or anonymous. `type` is one of the numbers above, or shmkit_bool. All begin as zeros.
SHMKIT_CHECKED
shmkit_status shmkit_atomic_array_create(const shmkit_region *region,
                                         const char *name,
                                         const shmkit_type *type_,
                                         const size_t *shape,
                                         size_t rank,
                                         shmkit_atomic_array **atomic_array);

// Finds an array of atomics, or makes it as shmkit_atomic_array_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_atomic_array_open_or_create(const shmkit_region *region,
                                                 const char *name,
                                                 const shmkit_type *type_,
                                                 const size_t *shape,
                                                 size_t rank,
                                                 shmkit_atomic_array **atomic_array);

// Finds an array of atomics: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_atomic_array_open(const shmkit_region *region,
                                       const char *name,
                                       const shmkit_type *type_,
                                       shmkit_atomic_array **atomic_array);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_atomic_array_close(shmkit_atomic_array *atomic_array);

// Where the elements lie, in row-major order, until the handle is closed. In C they may be used as _Atomic numbers of their
// type.
shmkit_status shmkit_atomic_array_data(const shmkit_atomic_array *atomic_array,
                                       void **data);

// The number of dimensions, 1 to 8, and their lengths, of which as many are written to `shape` as `room` says.
shmkit_status shmkit_atomic_array_shape(const shmkit_atomic_array *atomic_array,
                                        size_t *shape,
                                        size_t room,
                                        size_t *rank);

// Reads an element. This and all below are sequentially consistent; `at` counts in row-major order.
SHMKIT_CHECKED shmkit_status shmkit_atomic_array_load(const shmkit_atomic_array *atomic_array, size_t at, void *value);

// Writes an element.
shmkit_status shmkit_atomic_array_store(const shmkit_atomic_array *atomic_array, size_t at, const void *value);

// Replaces an element. `*old` is what it was; it may be null.
shmkit_status shmkit_atomic_array_swap(const shmkit_atomic_array *atomic_array,
                                       size_t at,
                                       const void *value,
                                       void *old);

// Adds to an element; integers wrap. `*old` is what it was; it may be null.
shmkit_status shmkit_atomic_array_fetch_add(const shmkit_atomic_array *atomic_array,
                                            size_t at,
                                            const void *operand,
                                            void *old);

// Replaces an element if it is `*expected`, bit by bit; if not, `*expected` becomes what it is. `*exchanged` tells which.
shmkit_status shmkit_atomic_array_compare_exchange(const shmkit_atomic_array *atomic_array,
                                                   size_t at,
                                                   void *expected,
                                                   const void *value,
                                                   bool *exchanged);

// Makes a read-write lock. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. Its value begins as zero.
SHMKIT_CHECKED
shmkit_status shmkit_rwlock_create(const shmkit_region *region,
                                   const char *name,
                                   const shmkit_type *type_,
                                   shmkit_rwlock **rwlock);

// Finds a read-write lock, or makes it as shmkit_rwlock_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_rwlock_open_or_create(const shmkit_region *region,
                                           const char *name,
                                           const shmkit_type *type_,
                                           shmkit_rwlock **rwlock);

// Finds a read-write lock: in a region, or at a name or file. If `type` is null the value may have
// any, which shmkit_rwlock_type tells.
SHMKIT_CHECKED
shmkit_status shmkit_rwlock_open(const shmkit_region *region,
                                 const char *name,
                                 const shmkit_type *type_,
                                 shmkit_rwlock **rwlock);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_rwlock_close(shmkit_rwlock *rwlock);

// Begins a read: others may read too, nobody writes. SHMKIT_POISONED as shmkit_rwlock_write.
SHMKIT_CHECKED shmkit_status shmkit_rwlock_read(const shmkit_rwlock *rwlock, shmkit_wait wait);

// Ends a read. SHMKIT_NOT_HELD if this thread has begun none with this handle.
SHMKIT_CHECKED shmkit_status shmkit_rwlock_end_read(const shmkit_rwlock *rwlock);

// Begins a write: nobody else reads or writes. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_rwlock_recover takes it all
// the same. The lock belongs to the thread: the same one must release it.
SHMKIT_CHECKED
shmkit_status shmkit_rwlock_write(const shmkit_rwlock *rwlock,
                                  shmkit_wait wait);

// Begins a write, poisoned or not: shmkit_rwlock_poison tells, and shmkit_rwlock_clear_poison ends it after the repair.
SHMKIT_CHECKED shmkit_status shmkit_rwlock_recover(const shmkit_rwlock *rwlock, shmkit_wait wait);

// Ends a write. SHMKIT_NOT_HELD if this thread does not write.
SHMKIT_CHECKED shmkit_status shmkit_rwlock_end_write(const shmkit_rwlock *rwlock);

// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
shmkit_status shmkit_rwlock_poison(const shmkit_rwlock *rwlock, bool *poisoned, uint32_t *pid);

// Declares what the lock guards, which this thread holds, to be whole again.
shmkit_status shmkit_rwlock_clear_poison(const shmkit_rwlock *rwlock);

// Where the value lies, until the handle is closed. It may be read during a read, and changed during a write.
shmkit_status shmkit_rwlock_data(const shmkit_rwlock *rwlock, void **data);

// The type of the value. Its name stands until the handle is closed.
shmkit_status shmkit_rwlock_type(const shmkit_rwlock *rwlock, shmkit_type *type_);

// Makes a semaphore. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. It begins with `count` permits.
SHMKIT_CHECKED
shmkit_status shmkit_semaphore_create(const shmkit_region *region,
                                      const char *name,
                                      size_t count,
                                      shmkit_semaphore **semaphore);

// Finds a semaphore, or makes it as shmkit_semaphore_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_semaphore_open_or_create(const shmkit_region *region,
                                              const char *name,
                                              size_t count,
                                              shmkit_semaphore **semaphore);

// Finds a semaphore: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_semaphore_open(const shmkit_region *region,
                                    const char *name,
                                    shmkit_semaphore **semaphore);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_semaphore_close(shmkit_semaphore *semaphore);

// Takes a permit.
SHMKIT_CHECKED shmkit_status shmkit_semaphore_acquire(const shmkit_semaphore *semaphore, shmkit_wait wait);

// Gives `n` permits.
shmkit_status shmkit_semaphore_release(const shmkit_semaphore *semaphore, size_t n);

// The number of permits there are now.
shmkit_status shmkit_semaphore_value(const shmkit_semaphore *semaphore, size_t *value);

// Makes a bounded semaphore. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous.
SHMKIT_CHECKED
shmkit_status shmkit_bounded_semaphore_create(const shmkit_region *region,
                                              const char *name,
                                              size_t permits,
                                              shmkit_bounded_semaphore **bounded_semaphore);

// Finds a bounded semaphore, or makes it as shmkit_bounded_semaphore_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_bounded_semaphore_open_or_create(const shmkit_region *region,
                                                      const char *name,
                                                      size_t permits,
                                                      shmkit_bounded_semaphore **bounded_semaphore);

// Finds a bounded semaphore: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_bounded_semaphore_open(const shmkit_region *region,
                                            const char *name,
                                            shmkit_bounded_semaphore **bounded_semaphore);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_bounded_semaphore_close(shmkit_bounded_semaphore *bounded_semaphore);

// Takes a permit for this process, any thread of which may give it back.
SHMKIT_CHECKED
shmkit_status shmkit_bounded_semaphore_acquire(const shmkit_bounded_semaphore *bounded_semaphore,
                                               shmkit_wait wait);

// Gives a permit back. SHMKIT_NOT_HELD if this process has none.
shmkit_status shmkit_bounded_semaphore_release(const shmkit_bounded_semaphore *bounded_semaphore);

// The number of permits that can be had now, and of all.
shmkit_status shmkit_bounded_semaphore_value(const shmkit_bounded_semaphore *bounded_semaphore,
                                             size_t *available,
                                             size_t *permits);

// Makes a condition. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous.
SHMKIT_CHECKED
shmkit_status shmkit_condvar_create(const shmkit_region *region,
                                    const char *name,
                                    shmkit_condvar **condvar);

// Finds a condition, or makes it as shmkit_condvar_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_condvar_open_or_create(const shmkit_region *region,
                                            const char *name,
                                            shmkit_condvar **condvar);

// Finds a condition: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_condvar_open(const shmkit_region *region,
                                  const char *name,
                                  shmkit_condvar **condvar);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_condvar_close(shmkit_condvar *condvar);

// Releases a lock, waits for a notification, and takes the lock again, whatever it returns. `held` is the handle of a lock
// that this thread holds: a shmkit_lock, shmkit_rlock, shmkit_value, shmkit_array, or shmkit_rwlock that it writes. It may
// return without a notification, so wait in a loop. SHMKIT_POISONED: somebody died with the lock meanwhile; unlike
// elsewhere it is held now, as after SHMKIT_TIMED_OUT and SHMKIT_OK. SHMKIT_INVALID_ARGUMENT for SHMKIT_TRY.
SHMKIT_CHECKED
shmkit_status shmkit_condvar_wait(const shmkit_condvar *condvar,
                                  const void *held,
                                  shmkit_wait wait);

// Wakes `n` of those who wait, or all if there are fewer. `*woken` is how many; it may be null.
shmkit_status shmkit_condvar_notify(const shmkit_condvar *condvar, size_t n, size_t *woken);

// Wakes all who wait.
shmkit_status shmkit_condvar_notify_all(const shmkit_condvar *condvar);

// How many wait.
shmkit_status shmkit_condvar_n_waiting(const shmkit_condvar *condvar, size_t *waiting);

// Makes an event. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. With `auto_reset` whoever it lets
// through clears it.
SHMKIT_CHECKED
shmkit_status shmkit_event_create(const shmkit_region *region,
                                  const char *name,
                                  bool auto_reset,
                                  shmkit_event **event);

// Finds an event, or makes it as shmkit_event_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_event_open_or_create(const shmkit_region *region,
                                          const char *name,
                                          bool auto_reset,
                                          shmkit_event **event);

// Finds an event: in a region, or at a name or file.
SHMKIT_CHECKED shmkit_status shmkit_event_open(const shmkit_region *region, const char *name, shmkit_event **event);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_event_close(shmkit_event *event);

// Sets it: all that wait go on, or one if it resets itself.
shmkit_status shmkit_event_set(const shmkit_event *event);

// Clears it.
shmkit_status shmkit_event_clear(const shmkit_event *event);

// Whether it is set.
shmkit_status shmkit_event_is_set(const shmkit_event *event, bool *set);

// Waits until it is set.
SHMKIT_CHECKED shmkit_status shmkit_event_wait(const shmkit_event *event, shmkit_wait wait);

// Makes a barrier. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous.
SHMKIT_CHECKED
shmkit_status shmkit_barrier_create(const shmkit_region *region,
                                    const char *name,
                                    size_t parties,
                                    shmkit_barrier **barrier);

// Finds a barrier, or makes it as shmkit_barrier_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_barrier_open_or_create(const shmkit_region *region,
                                            const char *name,
                                            size_t parties,
                                            shmkit_barrier **barrier);

// Finds a barrier: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_barrier_open(const shmkit_region *region,
                                  const char *name,
                                  shmkit_barrier **barrier);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_barrier_close(shmkit_barrier *barrier);

// Waits for all parties. `*index` is another number for each of them, below that of the parties; 0 is the leader. It may
// be null. SHMKIT_BARRIER_BROKEN: a party died (shmkit_last_pid() says who) or ran out of time, or somebody broke it.
// SHMKIT_FOREVER means the barrier's own time-out, if it has one.
SHMKIT_CHECKED
shmkit_status shmkit_barrier_wait(const shmkit_barrier *barrier,
                                  shmkit_wait wait,
                                  size_t *index);

// The same, with a function that the last party to come calls before anybody goes on. If it returns anything but 0 the
// barrier breaks. It must return: no exception, longjmp or pthread_exit may leave it.
SHMKIT_CHECKED
shmkit_status shmkit_barrier_wait_with(const shmkit_barrier *barrier,
                                       int (*action)(void*),
                                       void *argument,
                                       shmkit_wait wait,
                                       size_t *index);

// Breaks it: all that wait get SHMKIT_BARRIER_BROKEN, and so do all that come, until it is reset.
shmkit_status shmkit_barrier_abort(const shmkit_barrier *barrier);

// Makes it whole again. Those who wait get SHMKIT_BARRIER_BROKEN.
shmkit_status shmkit_barrier_reset(const shmkit_barrier *barrier);

// Its own time-out, for all parties, in seconds; 0 for none.
shmkit_status shmkit_barrier_set_timeout(const shmkit_barrier *barrier, double seconds);

// How many parties it has, how many wait now, and whether it is broken.
shmkit_status shmkit_barrier_state(const shmkit_barrier *barrier, size_t *parties, size_t *waiting, bool *broken);

// Makes a ring. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. It has room for `capacity`
// messages.
SHMKIT_CHECKED
shmkit_status shmkit_ring_create(const shmkit_region *region,
                                 const char *name,
                                 const shmkit_type *type_,
                                 size_t capacity,
                                 shmkit_ring **ring);

// Finds a ring, or makes it as shmkit_ring_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_ring_open_or_create(const shmkit_region *region,
                                         const char *name,
                                         const shmkit_type *type_,
                                         size_t capacity,
                                         shmkit_ring **ring);

// Finds a ring: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_ring_open(const shmkit_region *region,
                               const char *name,
                               const shmkit_type *type_,
                               shmkit_ring **ring);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_ring_close(shmkit_ring *ring);

// Puts a message in.
SHMKIT_CHECKED shmkit_status shmkit_ring_push(const shmkit_ring *ring, const void *message, shmkit_wait wait);

// Takes a message out.
SHMKIT_CHECKED shmkit_status shmkit_ring_pop(const shmkit_ring *ring, void *message, shmkit_wait wait);

// Puts in as many of `count` messages as there is room for, and waits for the first one if it has to. `*done` is how many.
SHMKIT_CHECKED
shmkit_status shmkit_ring_push_many(const shmkit_ring *ring,
                                    const void *messages,
                                    size_t count,
                                    shmkit_wait wait,
                                    size_t *done);

// Takes out as many of `count` messages as there are, and waits for the first one if it has to. `*done` is how many.
SHMKIT_CHECKED
shmkit_status shmkit_ring_pop_many(const shmkit_ring *ring,
                                   void *messages,
                                   size_t count,
                                   shmkit_wait wait,
                                   size_t *done);

// Reserves the next place, whose message arrives with shmkit_ring_publish. It holds what was there before. As long as it is
// reserved those who take out wait for it; if the process dies it is passed over.
SHMKIT_CHECKED
shmkit_status shmkit_ring_reserve(const shmkit_ring *ring,
                                  shmkit_wait wait,
                                  shmkit_slot *slot);

// Lets the message of a reserved place arrive. SHMKIT_NOT_HELD if this process has not reserved it, or given it up.
shmkit_status shmkit_ring_publish(const shmkit_ring *ring, shmkit_slot *slot);

// Gives a reserved place up: no message arrives.
shmkit_status shmkit_ring_give_up(const shmkit_ring *ring, shmkit_slot *slot);

// Takes the next message where it lies, until shmkit_ring_done. If the process dies it is lost with it.
SHMKIT_CHECKED shmkit_status shmkit_ring_take(const shmkit_ring *ring, shmkit_wait wait, shmkit_slot *slot);

// Frees the place of a message that was taken. SHMKIT_NOT_HELD if this process has not taken it, or freed it before.
shmkit_status shmkit_ring_done(const shmkit_ring *ring, shmkit_slot *slot);

// Closes it for those who put in: they get SHMKIT_CLOSED, and so do those who take out once it is empty. The handle stays.
shmkit_status shmkit_ring_end(const shmkit_ring *ring);

// How many messages are in it, for how many it has room, and whether it is closed for those who put in.
shmkit_status shmkit_ring_state(const shmkit_ring *ring, size_t *len, size_t *capacity, bool *ended);

// Makes a ring for one producer and one consumer. With a region: in it, under `name` or, if that is null, without a name.
// Without: in memory of its own, under `name` or anonymous. It has room for `capacity` messages.
SHMKIT_CHECKED
shmkit_status shmkit_spsc_ring_create(const shmkit_region *region,
                                      const char *name,
                                      const shmkit_type *type_,
                                      size_t capacity,
                                      shmkit_spsc_ring **ring);

// Finds such a ring, or makes it as shmkit_spsc_ring_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_spsc_ring_open_or_create(const shmkit_region *region,
                                              const char *name,
                                              const shmkit_type *type_,
                                              size_t capacity,
                                              shmkit_spsc_ring **ring);

// Finds such a ring: in a region, or at a name or file.
SHMKIT_CHECKED
shmkit_status shmkit_spsc_ring_open(const shmkit_region *region,
                                    const char *name,
                                    const shmkit_type *type_,
                                    shmkit_spsc_ring **ring);

// Ends a handle; the object stays for those who have it open, its ends among them, and under its name.
shmkit_status shmkit_spsc_ring_close(shmkit_spsc_ring *ring);

// How many messages are in it, and for how many it has room.
shmkit_status shmkit_spsc_ring_state(const shmkit_spsc_ring *ring, size_t *len, size_t *capacity);

// An end to put messages in. It takes the role with the first message, from nobody who lives: SHMKIT_ROLE_TAKEN is what that
// message gets then. One thread at a time may use an end, in whatever function.
SHMKIT_CHECKED
shmkit_status shmkit_producer_of(const shmkit_spsc_ring *ring,
                                 shmkit_producer **producer);

// An end to take messages out. It takes the role with the first message, from nobody who lives: SHMKIT_ROLE_TAKEN is what that
// attempt gets then. One thread at a time may use an end, in whatever function.
SHMKIT_CHECKED
shmkit_status shmkit_consumer_of(const shmkit_spsc_ring *ring,
                                 shmkit_consumer **consumer);

// Ends a handle, and gives up the role.
shmkit_status shmkit_producer_close(shmkit_producer *producer);

// Ends a handle, and gives up the role.
shmkit_status shmkit_consumer_close(shmkit_consumer *consumer);

// Puts a message in.
SHMKIT_CHECKED
shmkit_status shmkit_producer_push(const shmkit_producer *producer,
                                   const void *message,
                                   shmkit_wait wait);

// Takes a message out.
SHMKIT_CHECKED shmkit_status shmkit_consumer_pop(const shmkit_consumer *consumer, void *message, shmkit_wait wait);

// Puts in as many of `count` messages as there is room for, and waits for the first one if it has to. `*done` is how many.
SHMKIT_CHECKED
shmkit_status shmkit_producer_push_many(const shmkit_producer *producer,
                                        const void *messages,
                                        size_t count,
                                        shmkit_wait wait,
                                        size_t *done);

// Takes out as many of `count` messages as there are, and waits for the first one if it has to. `*done` is how many.
SHMKIT_CHECKED
shmkit_status shmkit_consumer_pop_many(const shmkit_consumer *consumer,
                                       void *messages,
                                       size_t count,
                                       shmkit_wait wait,
                                       size_t *done);

// Closes the ring for good: who puts in gets SHMKIT_CLOSED, and so does who takes out once it is empty. For the thread that
// uses this end.
shmkit_status shmkit_producer_end(const shmkit_producer *producer);

// The same, by who takes out.
shmkit_status shmkit_consumer_end(const shmkit_consumer *consumer);

// Makes a queue. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
// `name` or anonymous. It has room for `capacity` bytes.
SHMKIT_CHECKED
shmkit_status shmkit_queue_create(const shmkit_region *region,
                                  const char *name,
                                  size_t capacity,
                                  shmkit_queue **queue);

// Finds a queue, or makes it as shmkit_queue_create does: also where its maker died on the way.
SHMKIT_CHECKED
shmkit_status shmkit_queue_open_or_create(const shmkit_region *region,
                                          const char *name,
                                          size_t capacity,
                                          shmkit_queue **queue);

// Finds a queue: in a region, or at a name or file.
SHMKIT_CHECKED shmkit_status shmkit_queue_open(const shmkit_region *region, const char *name, shmkit_queue **queue);

// Ends a handle; the object stays for those who have it open, and under its name.
shmkit_status shmkit_queue_close(shmkit_queue *queue);

// Puts a message of `size` bytes in. SHMKIT_TOO_LARGE if it could never fit. SHMKIT_DISCONNECTED: there is no room, and nobody
// else has the queue who could make any.
SHMKIT_CHECKED
shmkit_status shmkit_queue_put(const shmkit_queue *queue,
                               const void *message,
                               size_t size,
                               shmkit_wait wait);

// Takes a message out into a buffer of `room` bytes. `*size` is its length. SHMKIT_BUFFER_TOO_SHORT, which leaves that too: it
// waits, as the next one for this handle and this process alone, for a buffer of `*size` bytes. It is out of the queue then:
// shmkit_queue_state does not count it, nobody else who waits is woken for it, and it is lost if the handle is closed.
// SHMKIT_DISCONNECTED: the queue is empty, and nobody else has it who could put anything in.
SHMKIT_CHECKED
shmkit_status shmkit_queue_get(const shmkit_queue *queue,
                               void *buffer,
                               size_t room,
                               size_t *size,
                               shmkit_wait wait);

// Declares a message that was taken out to be done. See shmkit_queue_join.
shmkit_status shmkit_queue_task_done(const shmkit_queue *queue);

// Waits until all messages that were put in are done. SHMKIT_TASKS_LOST: processes died before they had done theirs.
// SHMKIT_DISCONNECTED: some are not, and nobody else has the queue who could do them.
SHMKIT_CHECKED shmkit_status shmkit_queue_join(const shmkit_queue *queue, shmkit_wait wait);

// Closes it for those who put in: they get SHMKIT_CLOSED, and so do those who take out once it is empty. The handle stays.
shmkit_status shmkit_queue_end(const shmkit_queue *queue);

// How many messages are in it, for how many bytes it has room, and whether it is closed for those who put in.
shmkit_status shmkit_queue_state(const shmkit_queue *queue, size_t *len, size_t *capacity, bool *ended);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHMKIT_H */

// The other side has the same sizes and alignments.
#if defined(__cplusplus) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L)
#include <assert.h>
static_assert(sizeof(size_t) == 8 && sizeof(void *) == 8, "64 bits");
static_assert(sizeof(shmkit_status) == 4, "a status is an int");
static_assert(sizeof(bool) == 1, "a bool is a byte");
static_assert(sizeof(shmkit_wait) == 8 && alignof(shmkit_wait) == 8, "one number");
static_assert(sizeof(shmkit_type) == 24 && offsetof(shmkit_type, size) == 8 && offsetof(shmkit_type, align) == 16, "");
static_assert(sizeof(shmkit_claim) == 32 && offsetof(shmkit_claim, start) == 8 && offsetof(shmkit_claim, id) == 24, "");
static_assert(sizeof(shmkit_slot) == 24 && offsetof(shmkit_slot, lap) == 16, "");
static_assert(sizeof(shmkit_region_options) == 64 && offsetof(shmkit_region_options, max_size) == 24, "");
#endif
