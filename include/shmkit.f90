! shmkit in Fortran: the part of shmkit.h that Fortran programs need most, by iso_c_binding. What the functions do stands there.
! Others are declared in the same way.
!
! Names end with c_null_char: "my-array"//c_null_char. What needs no name is made without that argument, and the others by
! keyword. A handle is a type(c_ptr), c_null_ptr where there is none. Lengths are in the order of C: the last index runs fastest.
module shmkit
    use, intrinsic :: iso_c_binding
    implicit none
    public

    integer(c_int), parameter :: SHMKIT_OK = 0, SHMKIT_WOULD_BLOCK = 1, SHMKIT_TIMED_OUT = 2, SHMKIT_POISONED = 3, &
        SHMKIT_WOULD_DEADLOCK = 4, SHMKIT_NOT_HELD = 5, SHMKIT_BAD_HANDLE = 6, SHMKIT_INVALID_ARGUMENT = 7, &
        SHMKIT_BARRIER_BROKEN = 8, SHMKIT_CLOSED = 9, SHMKIT_DISCONNECTED = 10, SHMKIT_TASKS_LOST = 11, &
        SHMKIT_TOO_LARGE = 12, SHMKIT_BUFFER_TOO_SHORT = 13, SHMKIT_ALREADY_EXISTS = 14, SHMKIT_NOT_FOUND = 15, &
        SHMKIT_NOT_READY = 16, SHMKIT_INVALID_NAME = 17, SHMKIT_CORRUPT = 18, SHMKIT_VERSION_MISMATCH = 19, &
        SHMKIT_WRONG_OWNER = 20, SHMKIT_TYPE_MISMATCH = 21, SHMKIT_OUT_OF_RANGE = 22, SHMKIT_TOO_MANY = 23, &
        SHMKIT_REGION_FULL = 24, SHMKIT_OUT_OF_MEMORY = 25, SHMKIT_READ_ONLY = 26, SHMKIT_UNSUPPORTED = 27, &
        SHMKIT_OS = 28, SHMKIT_PANICKED = 29, SHMKIT_OTHER = 30, SHMKIT_ROLE_TAKEN = 31, SHMKIT_FAILED = 32
    integer(c_int32_t), parameter :: SHMKIT_READ = 1, SHMKIT_CHANGE = 2

    type, bind(C) :: shmkit_wait
        integer(c_int64_t) :: until
    end type

    type, bind(C) :: shmkit_type
        type(c_ptr) :: name
        integer(c_size_t) :: size, align
    end type

    type, bind(C) :: shmkit_region_options
        integer(c_size_t) :: size, members = 0
        logical(c_bool) :: sparse = .false., core_dump = .false.
        integer(c_size_t) :: max_size = 0
        integer(c_int64_t) :: reserved(4) = 0
    end type

    type, bind(C) :: shmkit_claim
        type(c_ptr) :: data
        integer(c_size_t) :: start, len
        integer(c_int64_t) :: id
    end type

    type(shmkit_wait), parameter :: SHMKIT_FOREVER = shmkit_wait(huge(0_c_int64_t)), SHMKIT_TRY = shmkit_wait(-1)

    ! The same sizes as in C: a compiler that disagrees refuses to divide by 0.
    integer, parameter, private :: same_sizes = &
        1/merge(1, 0, storage_size(SHMKIT_TRY) == 64 .and. storage_size(shmkit_claim(c_null_ptr, 0, 0, 0)) == 256 .and. &
        storage_size(shmkit_region_options(0)) == 512)

    type(shmkit_type), bind(C), protected :: shmkit_i8, shmkit_i16, shmkit_i32, shmkit_i64, shmkit_f32, &
        shmkit_f64, shmkit_bool

    interface
        function shmkit_last_error_c() bind(C, name="shmkit_last_error")
            import
            type(c_ptr) :: shmkit_last_error_c
        end function
        integer(c_int32_t) function shmkit_last_pid() bind(C)
            import
        end function
        function shmkit_timeout(seconds) bind(C)
            import
            real(c_double), value :: seconds
            type(shmkit_wait) :: shmkit_timeout
        end function
        integer(c_int) function shmkit_unlink(name) bind(C)
            import
            character(kind=c_char), intent(in) :: name(*)
        end function

        integer(c_int) function shmkit_array_create(region, name, type, shape, rank, array) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            integer(c_size_t), intent(in) :: shape(*)
            integer(c_size_t), value :: rank
            type(c_ptr), intent(out) :: array
        end function
        integer(c_int) function shmkit_array_open(region, name, type, array) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: array
        end function
        integer(c_int) function shmkit_array_close(array) bind(C)
            import
            type(c_ptr), value :: array
        end function
        integer(c_int) function shmkit_array_data(array, data) bind(C)
            import
            type(c_ptr), value :: array
            type(c_ptr), intent(out) :: data
        end function
        integer(c_int) function shmkit_array_shape(array, shape, room, rank) bind(C)
            import
            type(c_ptr), value :: array
            integer(c_size_t), intent(out) :: shape(*)
            integer(c_size_t), value :: room
            integer(c_size_t), intent(out) :: rank
        end function
        integer(c_int) function shmkit_array_lock(array, wait) bind(C)
            import
            type(c_ptr), value :: array
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_array_recover(array, wait) bind(C)
            import
            type(c_ptr), value :: array
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_array_clear_poison(array) bind(C)
            import
            type(c_ptr), value :: array
        end function
        integer(c_int) function shmkit_array_unlock(array) bind(C)
            import
            type(c_ptr), value :: array
        end function
        integer(c_int) function shmkit_array_claim(array, start, len, mode, wait, claim) bind(C)
            import
            type(c_ptr), value :: array
            integer(c_size_t), value :: start, len
            integer(c_int32_t), value :: mode
            type(shmkit_wait), value :: wait
            type(shmkit_claim), intent(out) :: claim
        end function
        integer(c_int) function shmkit_claim_end(array, claim) bind(C)
            import
            type(c_ptr), value :: array
            type(shmkit_claim), intent(inout) :: claim
        end function

        integer(c_int) function shmkit_barrier_create(region, name, parties, barrier) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: parties
            type(c_ptr), intent(out) :: barrier
        end function
        integer(c_int) function shmkit_barrier_open(region, name, barrier) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: barrier
        end function
        integer(c_int) function shmkit_barrier_wait(barrier, wait, index) bind(C)
            import
            type(c_ptr), value :: barrier
            type(shmkit_wait), value :: wait
            integer(c_size_t), intent(out) :: index
        end function
        integer(c_int) function shmkit_barrier_close(barrier) bind(C)
            import
            type(c_ptr), value :: barrier
        end function
        integer(c_int) function shmkit_barrier_open_or_create(region, name, parties, barrier) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: parties
            type(c_ptr), intent(out) :: barrier
        end function
        integer(c_int) function shmkit_barrier_reset(barrier) bind(C)
            import
            type(c_ptr), value :: barrier
        end function
        integer(c_int) function shmkit_barrier_abort(barrier) bind(C)
            import
            type(c_ptr), value :: barrier
        end function
        integer(c_int) function shmkit_barrier_state(barrier, parties, waiting, broken) bind(C)
            import
            type(c_ptr), value :: barrier
            integer(c_size_t), intent(out) :: parties
            integer(c_size_t), intent(out) :: waiting
            logical(c_bool), intent(out) :: broken
        end function

        integer(c_int64_t) function shmkit_now() bind(C)
            import
        end function
        function shmkit_deadline(nanoseconds) bind(C)
            import
            integer(c_int64_t), value :: nanoseconds
            type(shmkit_wait) :: shmkit_deadline
        end function
        logical(c_bool) function shmkit_last_range(start, end) bind(C)
            import
            integer(c_size_t), intent(out) :: start, end
        end function

        integer(c_int) function shmkit_region_create(name, options, region) bind(C)
            import
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_region_options), intent(in) :: options
            type(c_ptr), intent(out) :: region
        end function
        integer(c_int) function shmkit_region_open_or_create(name, options, region) bind(C)
            import
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_region_options), intent(in) :: options
            type(c_ptr), intent(out) :: region
        end function
        integer(c_int) function shmkit_region_open(name, region) bind(C)
            import
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: region
        end function
        integer(c_int) function shmkit_region_grow(region, size) bind(C)
            import
            type(c_ptr), value :: region
            integer(c_size_t), value :: size
        end function
        integer(c_int) function shmkit_region_remove(region, name) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
        end function
        integer(c_int) function shmkit_region_close(region) bind(C)
            import
            type(c_ptr), value :: region
        end function

        integer(c_int) function shmkit_lock_create(region, name, lock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(c_ptr), intent(out) :: lock
        end function
        integer(c_int) function shmkit_lock_open_or_create(region, name, lock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(c_ptr), intent(out) :: lock
        end function
        integer(c_int) function shmkit_lock_open(region, name, lock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: lock
        end function
        integer(c_int) function shmkit_lock_close(lock) bind(C)
            import
            type(c_ptr), value :: lock
        end function
        integer(c_int) function shmkit_lock_lock(lock, wait) bind(C)
            import
            type(c_ptr), value :: lock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_lock_recover(lock, wait) bind(C)
            import
            type(c_ptr), value :: lock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_lock_poison(lock, poisoned, pid) bind(C)
            import
            type(c_ptr), value :: lock
            logical(c_bool), intent(out) :: poisoned
            integer(c_int32_t), intent(out) :: pid
        end function
        integer(c_int) function shmkit_lock_clear_poison(lock) bind(C)
            import
            type(c_ptr), value :: lock
        end function
        integer(c_int) function shmkit_lock_unlock(lock) bind(C)
            import
            type(c_ptr), value :: lock
        end function

        integer(c_int) function shmkit_value_create(region, name, type, value) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: value
        end function
        integer(c_int) function shmkit_value_open_or_create(region, name, type, value) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: value
        end function
        integer(c_int) function shmkit_value_open(region, name, type, value) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: value
        end function
        integer(c_int) function shmkit_value_close(value) bind(C)
            import
            type(c_ptr), value :: value
        end function
        integer(c_int) function shmkit_value_lock(value, wait) bind(C)
            import
            type(c_ptr), value :: value
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_value_recover(value, wait) bind(C)
            import
            type(c_ptr), value :: value
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_value_poison(value, poisoned, pid) bind(C)
            import
            type(c_ptr), value :: value
            logical(c_bool), intent(out) :: poisoned
            integer(c_int32_t), intent(out) :: pid
        end function
        integer(c_int) function shmkit_value_clear_poison(value) bind(C)
            import
            type(c_ptr), value :: value
        end function
        integer(c_int) function shmkit_value_unlock(value) bind(C)
            import
            type(c_ptr), value :: value
        end function
        integer(c_int) function shmkit_value_data(value, data) bind(C)
            import
            type(c_ptr), value :: value
            type(c_ptr), intent(out) :: data
        end function

        integer(c_int) function shmkit_array_open_or_create(region, name, type, shape, rank, array) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            integer(c_size_t), intent(in) :: shape(*)
            integer(c_size_t), value :: rank
            type(c_ptr), intent(out) :: array
        end function
        integer(c_int) function shmkit_array_create_growable(region, name, type, shape, rank, most, array) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            integer(c_size_t), intent(in) :: shape(*)
            integer(c_size_t), value :: rank
            integer(c_size_t), value :: most
            type(c_ptr), intent(out) :: array
        end function
        integer(c_int) function shmkit_array_extend(array, elements, count, wait) bind(C)
            import
            type(c_ptr), value :: array
            type(*), intent(in) :: elements(*)
            integer(c_size_t), value :: count
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_array_grow(array, rows, wait) bind(C)
            import
            type(c_ptr), value :: array
            integer(c_size_t), value :: rows
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_array_capacity(array, most) bind(C)
            import
            type(c_ptr), value :: array
            integer(c_size_t), intent(out) :: most
        end function
        integer(c_int) function shmkit_array_len(array, len) bind(C)
            import
            type(c_ptr), value :: array
            integer(c_size_t), intent(out) :: len
        end function
        integer(c_int) function shmkit_array_poison(array, poisoned, pid) bind(C)
            import
            type(c_ptr), value :: array
            logical(c_bool), intent(out) :: poisoned
            integer(c_int32_t), intent(out) :: pid
        end function
        integer(c_int) function shmkit_array_recover_claim(array, start, len, wait, claim) bind(C)
            import
            type(c_ptr), value :: array
            integer(c_size_t), value :: start, len
            type(shmkit_wait), value :: wait
            type(shmkit_claim), intent(out) :: claim
        end function
        integer(c_int) function shmkit_claim_clear_poison(array, claim) bind(C)
            import
            type(c_ptr), value :: array
            type(shmkit_claim), intent(in) :: claim
        end function

        integer(c_int) function shmkit_view_open(name, type, view) bind(C)
            import
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: view
        end function
        integer(c_int) function shmkit_view_load(view, at, count, buffer) bind(C)
            import
            type(c_ptr), value :: view
            integer(c_size_t), value :: at
            integer(c_size_t), value :: count
            type(*), intent(inout) :: buffer(*)
        end function
        integer(c_int) function shmkit_view_data(view, data) bind(C)
            import
            type(c_ptr), value :: view
            type(c_ptr), intent(out) :: data
        end function
        integer(c_int) function shmkit_view_len(view, len) bind(C)
            import
            type(c_ptr), value :: view
            integer(c_size_t), intent(out) :: len
        end function
        integer(c_int) function shmkit_view_close(view) bind(C)
            import
            type(c_ptr), value :: view
        end function

        integer(c_int) function shmkit_atomic_create(region, name, type, first, atomic) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            type(*), intent(in), optional :: first
            type(c_ptr), intent(out) :: atomic
        end function
        integer(c_int) function shmkit_atomic_open_or_create(region, name, type, first, atomic) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            type(*), intent(in), optional :: first
            type(c_ptr), intent(out) :: atomic
        end function
        integer(c_int) function shmkit_atomic_open(region, name, type, atomic) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: atomic
        end function
        integer(c_int) function shmkit_atomic_close(atomic) bind(C)
            import
            type(c_ptr), value :: atomic
        end function
        integer(c_int) function shmkit_atomic_load(atomic, value) bind(C)
            import
            type(c_ptr), value :: atomic
            type(*), intent(inout) :: value
        end function
        integer(c_int) function shmkit_atomic_store(atomic, value) bind(C)
            import
            type(c_ptr), value :: atomic
            type(*), intent(in) :: value
        end function
        integer(c_int) function shmkit_atomic_fetch_add(atomic, operand, old) bind(C)
            import
            type(c_ptr), value :: atomic
            type(*), intent(in) :: operand
            type(*), intent(inout) :: old
        end function

        integer(c_int) function shmkit_semaphore_create(region, name, count, semaphore) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: count
            type(c_ptr), intent(out) :: semaphore
        end function
        integer(c_int) function shmkit_semaphore_open_or_create(region, name, count, semaphore) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: count
            type(c_ptr), intent(out) :: semaphore
        end function
        integer(c_int) function shmkit_semaphore_open(region, name, semaphore) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: semaphore
        end function
        integer(c_int) function shmkit_semaphore_close(semaphore) bind(C)
            import
            type(c_ptr), value :: semaphore
        end function
        integer(c_int) function shmkit_semaphore_acquire(semaphore, wait) bind(C)
            import
            type(c_ptr), value :: semaphore
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_semaphore_release(semaphore, n) bind(C)
            import
            type(c_ptr), value :: semaphore
            integer(c_size_t), value :: n
        end function
        integer(c_int) function shmkit_bounded_semaphore_create(region, name, permits, bounded_semaphore) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: permits
            type(c_ptr), intent(out) :: bounded_semaphore
        end function
        integer(c_int) function shmkit_bounded_semaphore_open_or_create(region, name, permits, bounded_semaphore) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: permits
            type(c_ptr), intent(out) :: bounded_semaphore
        end function
        integer(c_int) function shmkit_bounded_semaphore_open(region, name, bounded_semaphore) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: bounded_semaphore
        end function
        integer(c_int) function shmkit_bounded_semaphore_close(bounded_semaphore) bind(C)
            import
            type(c_ptr), value :: bounded_semaphore
        end function
        integer(c_int) function shmkit_bounded_semaphore_acquire(bounded_semaphore, wait) bind(C)
            import
            type(c_ptr), value :: bounded_semaphore
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_bounded_semaphore_release(bounded_semaphore) bind(C)
            import
            type(c_ptr), value :: bounded_semaphore
        end function

        integer(c_int) function shmkit_event_create(region, name, auto_reset, event) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            logical(c_bool), value :: auto_reset
            type(c_ptr), intent(out) :: event
        end function
        integer(c_int) function shmkit_event_open_or_create(region, name, auto_reset, event) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            logical(c_bool), value :: auto_reset
            type(c_ptr), intent(out) :: event
        end function
        integer(c_int) function shmkit_event_open(region, name, event) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: event
        end function
        integer(c_int) function shmkit_event_close(event) bind(C)
            import
            type(c_ptr), value :: event
        end function
        integer(c_int) function shmkit_event_set(event) bind(C)
            import
            type(c_ptr), value :: event
        end function
        integer(c_int) function shmkit_event_clear(event) bind(C)
            import
            type(c_ptr), value :: event
        end function
        integer(c_int) function shmkit_event_wait(event, wait) bind(C)
            import
            type(c_ptr), value :: event
            type(shmkit_wait), value :: wait
        end function

        integer(c_int) function shmkit_ring_create(region, name, type, capacity, ring) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            integer(c_size_t), value :: capacity
            type(c_ptr), intent(out) :: ring
        end function
        integer(c_int) function shmkit_ring_open_or_create(region, name, type, capacity, ring) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            integer(c_size_t), value :: capacity
            type(c_ptr), intent(out) :: ring
        end function
        integer(c_int) function shmkit_ring_open(region, name, type, ring) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: ring
        end function
        integer(c_int) function shmkit_ring_close(ring) bind(C)
            import
            type(c_ptr), value :: ring
        end function
        integer(c_int) function shmkit_ring_push(ring, message, wait) bind(C)
            import
            type(c_ptr), value :: ring
            type(*), intent(in) :: message
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_ring_pop(ring, message, wait) bind(C)
            import
            type(c_ptr), value :: ring
            type(*), intent(inout) :: message
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_ring_push_many(ring, messages, count, wait, done) bind(C)
            import
            type(c_ptr), value :: ring
            type(*), intent(in) :: messages(*)
            integer(c_size_t), value :: count
            type(shmkit_wait), value :: wait
            integer(c_size_t), intent(out) :: done
        end function
        integer(c_int) function shmkit_ring_pop_many(ring, messages, count, wait, done) bind(C)
            import
            type(c_ptr), value :: ring
            type(*), intent(inout) :: messages(*)
            integer(c_size_t), value :: count
            type(shmkit_wait), value :: wait
            integer(c_size_t), intent(out) :: done
        end function
        integer(c_int) function shmkit_ring_end(ring) bind(C)
            import
            type(c_ptr), value :: ring
        end function

        integer(c_int) function shmkit_queue_create(region, name, capacity, queue) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: capacity
            type(c_ptr), intent(out) :: queue
        end function
        integer(c_int) function shmkit_queue_open_or_create(region, name, capacity, queue) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            integer(c_size_t), value :: capacity
            type(c_ptr), intent(out) :: queue
        end function
        integer(c_int) function shmkit_queue_open(region, name, queue) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: queue
        end function
        integer(c_int) function shmkit_queue_close(queue) bind(C)
            import
            type(c_ptr), value :: queue
        end function
        ! Bytes of whatever is contiguous; those of a text as [text].
        integer(c_int) function shmkit_queue_put(queue, message, size, wait) bind(C)
            import
            type(c_ptr), value :: queue
            type(*), intent(in) :: message(*)
            integer(c_size_t), value :: size
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_queue_get(queue, buffer, room, size, wait) bind(C)
            import
            type(c_ptr), value :: queue
            type(*), intent(inout) :: buffer(*)
            integer(c_size_t), value :: room
            integer(c_size_t), intent(out) :: size
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_queue_end(queue) bind(C)
            import
            type(c_ptr), value :: queue
        end function
        integer(c_int) function shmkit_queue_task_done(queue) bind(C)
            import
            type(c_ptr), value :: queue
        end function
        integer(c_int) function shmkit_queue_join(queue, wait) bind(C)
            import
            type(c_ptr), value :: queue
            type(shmkit_wait), value :: wait
        end function

        integer(c_int) function shmkit_rlock_create(region, name, rlock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(c_ptr), intent(out) :: rlock
        end function
        integer(c_int) function shmkit_rlock_open_or_create(region, name, rlock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(c_ptr), intent(out) :: rlock
        end function
        integer(c_int) function shmkit_rlock_open(region, name, rlock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: rlock
        end function
        integer(c_int) function shmkit_rlock_close(rlock) bind(C)
            import
            type(c_ptr), value :: rlock
        end function
        integer(c_int) function shmkit_rlock_lock(rlock, wait) bind(C)
            import
            type(c_ptr), value :: rlock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_rlock_recover(rlock, wait) bind(C)
            import
            type(c_ptr), value :: rlock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_rlock_unlock(rlock) bind(C)
            import
            type(c_ptr), value :: rlock
        end function
        integer(c_int) function shmkit_rlock_clear_poison(rlock) bind(C)
            import
            type(c_ptr), value :: rlock
        end function

        integer(c_int) function shmkit_rwlock_create(region, name, type, rwlock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: rwlock
        end function
        integer(c_int) function shmkit_rwlock_open_or_create(region, name, type, rwlock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: rwlock
        end function
        integer(c_int) function shmkit_rwlock_open(region, name, type, rwlock) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: rwlock
        end function
        integer(c_int) function shmkit_rwlock_close(rwlock) bind(C)
            import
            type(c_ptr), value :: rwlock
        end function
        integer(c_int) function shmkit_rwlock_data(rwlock, data) bind(C)
            import
            type(c_ptr), value :: rwlock
            type(c_ptr), intent(out) :: data
        end function
        integer(c_int) function shmkit_rwlock_read(rwlock, wait) bind(C)
            import
            type(c_ptr), value :: rwlock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_rwlock_write(rwlock, wait) bind(C)
            import
            type(c_ptr), value :: rwlock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_rwlock_recover(rwlock, wait) bind(C)
            import
            type(c_ptr), value :: rwlock
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_rwlock_end_read(rwlock) bind(C)
            import
            type(c_ptr), value :: rwlock
        end function
        integer(c_int) function shmkit_rwlock_end_write(rwlock) bind(C)
            import
            type(c_ptr), value :: rwlock
        end function
        integer(c_int) function shmkit_rwlock_clear_poison(rwlock) bind(C)
            import
            type(c_ptr), value :: rwlock
        end function

        integer(c_int) function shmkit_condvar_create(region, name, condvar) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(c_ptr), intent(out) :: condvar
        end function
        integer(c_int) function shmkit_condvar_open_or_create(region, name, condvar) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in), optional :: name(*)
            type(c_ptr), intent(out) :: condvar
        end function
        integer(c_int) function shmkit_condvar_open(region, name, condvar) bind(C)
            import
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: condvar
        end function
        integer(c_int) function shmkit_condvar_close(condvar) bind(C)
            import
            type(c_ptr), value :: condvar
        end function
        integer(c_int) function shmkit_condvar_wait(condvar, held, wait) bind(C)
            import
            type(c_ptr), value :: condvar
            type(c_ptr), value :: held
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_condvar_notify(condvar, n, woken) bind(C)
            import
            type(c_ptr), value :: condvar
            integer(c_size_t), value :: n
            integer(c_size_t), intent(out) :: woken
        end function
        integer(c_int) function shmkit_condvar_notify_all(condvar) bind(C)
            import
            type(c_ptr), value :: condvar
        end function
    end interface

contains

    ! The text of the last failure in this thread.
    function shmkit_last_error() result(text)
        character(:), allocatable :: text
        character(kind=c_char), pointer :: bytes(:)
        integer :: n
        interface
            integer(c_size_t) function strlen(text) bind(C, name="strlen")
                import
                type(c_ptr), value :: text
            end function
        end interface
        n = int(strlen(shmkit_last_error_c()))
        call c_f_pointer(shmkit_last_error_c(), bytes, [n])
        allocate (character(n) :: text)
        text = transfer(bytes(1:n), text)
    end function
end module
