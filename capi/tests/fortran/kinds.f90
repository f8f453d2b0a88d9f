! What the examples do not call: barriers that break, messages that are declared done, locks to take again, to read, to wait with.
program kinds
    use shmkit
    implicit none
    type(c_ptr) :: barrier, queue, rlock, rwlock, condvar, place
    integer(c_size_t) :: parties, waiting, length, woken, index
    logical(c_bool) :: broken
    real(c_double), pointer :: x
    character(kind=c_char) :: text(8)

    call check(shmkit_barrier_open_or_create(c_null_ptr, parties=1_c_size_t, barrier=barrier), SHMKIT_OK)
    call check(shmkit_barrier_wait(barrier, SHMKIT_FOREVER, index), SHMKIT_OK)
    call check(shmkit_barrier_abort(barrier), SHMKIT_OK)
    call check(shmkit_barrier_wait(barrier, SHMKIT_FOREVER, index), SHMKIT_BARRIER_BROKEN)
    call check(shmkit_barrier_state(barrier, parties, waiting, broken), SHMKIT_OK)
    if (parties /= 1 .or. waiting /= 0 .or. .not. broken) error stop "another state"
    call check(shmkit_barrier_reset(barrier), SHMKIT_OK)
    call check(shmkit_barrier_wait(barrier, SHMKIT_FOREVER, index), SHMKIT_OK)
    call check(shmkit_barrier_close(barrier), SHMKIT_OK)

    call check(shmkit_queue_create(c_null_ptr, capacity=100_c_size_t, queue=queue), SHMKIT_OK)
    call check(shmkit_queue_put(queue, ["abc"], 3_c_size_t, SHMKIT_TRY), SHMKIT_OK)
    call check(shmkit_queue_get(queue, text, 8_c_size_t, length, SHMKIT_TRY), SHMKIT_OK)
    call check(shmkit_queue_join(queue, shmkit_timeout(0.01d0)), SHMKIT_TIMED_OUT)
    call check(shmkit_queue_task_done(queue), SHMKIT_OK)
    call check(shmkit_queue_join(queue, SHMKIT_FOREVER), SHMKIT_OK)
    call check(shmkit_queue_close(queue), SHMKIT_OK)

    call check(shmkit_rlock_create(c_null_ptr, rlock=rlock), SHMKIT_OK)
    call check(shmkit_rlock_lock(rlock, SHMKIT_TRY), SHMKIT_OK)
    call check(shmkit_rlock_recover(rlock, SHMKIT_TRY), SHMKIT_OK)
    call check(shmkit_rlock_unlock(rlock), SHMKIT_OK)
    call check(shmkit_rlock_unlock(rlock), SHMKIT_OK)
    call check(shmkit_rlock_unlock(rlock), SHMKIT_NOT_HELD)
    call check(shmkit_rlock_close(rlock), SHMKIT_OK)

    call check(shmkit_rwlock_create(c_null_ptr, type=shmkit_f64, rwlock=rwlock), SHMKIT_OK)
    call check(shmkit_rwlock_data(rwlock, place), SHMKIT_OK)
    call c_f_pointer(place, x)
    call check(shmkit_condvar_create(c_null_ptr, condvar=condvar), SHMKIT_OK)
    call check(shmkit_rwlock_write(rwlock, SHMKIT_FOREVER), SHMKIT_OK)
    x = 1.5
    call check(shmkit_condvar_wait(condvar, rwlock, shmkit_timeout(0.01d0)), SHMKIT_TIMED_OUT)
    call check(shmkit_rwlock_end_write(rwlock), SHMKIT_OK)
    call check(shmkit_rwlock_read(rwlock, SHMKIT_TRY), SHMKIT_OK)
    if (x < 1 .or. x > 2) error stop "another value"
    call check(shmkit_rwlock_write(rwlock, SHMKIT_TRY), SHMKIT_WOULD_BLOCK)
    call check(shmkit_rwlock_end_read(rwlock), SHMKIT_OK)
    call check(shmkit_rwlock_end_read(rwlock), SHMKIT_NOT_HELD)
    call check(shmkit_condvar_notify(condvar, 3_c_size_t, woken), SHMKIT_OK)
    call check(shmkit_condvar_notify_all(condvar), SHMKIT_OK)
    if (woken /= 0) error stop "somebody was woken"
    call check(shmkit_condvar_close(condvar), SHMKIT_OK)
    call check(shmkit_rwlock_close(rwlock), SHMKIT_OK)
    if (len(shmkit_last_error()) == 0) error stop "no text"
    print "(a)", "all kinds"

contains

    subroutine check(status, expected)
        integer(c_int), intent(in) :: status, expected
        if (status /= expected) then
            print *, status, expected, shmkit_last_error()
            error stop 1
        end if
    end subroutine
end program
