! Two processes of one program in Fortran: one measures and sends, the other adds up. A lock, a value, a semaphore, a ring of
! numbers and a queue of texts, all in one region.
!
!     gfortran include/shmkit.f90 examples/fortran/line.f90 -L capi/target/release -lshmkit -o line
program line
    use shmkit
    implicit none
    integer(c_size_t), parameter :: n = 100
    character(64) :: name
    type(c_ptr) :: region, lock, sum, place, slots, ring, queue, count
    integer(c_size_t) :: length
    integer(c_int32_t) :: child, sent, i
    character(kind=c_char) :: text(32)
    real(c_double) :: sample
    real(c_double), pointer :: total

    interface
        integer(c_int32_t) function fork() bind(C)
            import
        end function
        subroutine leave(status) bind(C, name="_exit")
            import
            integer(c_int), value :: status
        end subroutine
        integer(c_int32_t) function await(child, status, options) bind(C, name="waitpid")
            import
            integer(c_int32_t), value :: child
            integer(c_int), intent(out) :: status
            integer(c_int), value :: options
        end function
    end interface

    call get_command_argument(1, name)
    if (name == "") name = "shmkit-fortran-line"
    name = trim(name)//c_null_char
    call must(shmkit_region_create(name, shmkit_region_options(size=65536, max_size=1048576), region))
    call must(shmkit_lock_create(region, "lock"//c_null_char, lock))
    call must(shmkit_value_create(region, "sum"//c_null_char, shmkit_f64, sum))
    call must(shmkit_semaphore_create(region, count=8_c_size_t, semaphore=slots))
    call must(shmkit_ring_create(region, "samples"//c_null_char, shmkit_f64, 16_c_size_t, ring))
    call must(shmkit_queue_create(region, "words"//c_null_char, 4096_c_size_t, queue))
    call must(shmkit_atomic_create(region, "count"//c_null_char, shmkit_i32, atomic=count))

    child = fork()
    if (child < 0) error stop "no process to be had"
    if (child == 0) then
        do i = 1, int(n)
            ! No more than 8 that nobody has added up yet.
            call must(shmkit_semaphore_acquire(slots, shmkit_timeout(60d0)))
            call must(shmkit_ring_push(ring, real(i, c_double)/2, shmkit_timeout(60d0)))
            call must(shmkit_atomic_fetch_add(count, 1_c_int32_t, sent))
        end do
        call must(shmkit_ring_end(ring))
        call must(shmkit_queue_put(queue, ["all of them"], 11_c_size_t, shmkit_timeout(60d0)))
        call leave(0)
    end if

    call must(shmkit_value_data(sum, place))
    call c_f_pointer(place, total)
    do
        select case (shmkit_ring_pop(ring, sample, shmkit_timeout(60d0)))
        case (SHMKIT_OK)
            call must(shmkit_value_lock(sum, SHMKIT_FOREVER))
            total = total + sample
            call must(shmkit_value_unlock(sum))
            call must(shmkit_semaphore_release(slots, 1_c_size_t))
        case (SHMKIT_CLOSED)
            exit
        case default
            call must(1)
        end select
    end do
    call must(shmkit_queue_get(queue, text, size(text, kind=c_size_t), length, shmkit_timeout(60d0)))
    call must(shmkit_atomic_load(count, sent))
    if (await(child, i, 0) /= child .or. i /= 0) error stop "the child failed"

    call must(shmkit_lock_lock(lock, SHMKIT_TRY))
    if (shmkit_lock_lock(lock, SHMKIT_TRY) /= SHMKIT_WOULD_BLOCK) error stop "it was not held"
    call must(shmkit_lock_unlock(lock))
    print "(a, i0, a, f0.1, a, a)", "numbers ", sent, ", sum ", total, ", said: ", transfer(text(:length), repeat("x", int(length)))
    call must(shmkit_region_close(region))
    call must(shmkit_unlink(name))

contains

    subroutine must(status)
        integer(c_int), intent(in) :: status
        if (status /= SHMKIT_OK) then
            print *, shmkit_last_error()
            error stop 1
        end if
    end subroutine
end program
