! shmkit in Fortran: the part of shmkit.h that Fortran programs need most, by iso_c_binding. What the functions do stands there.
! Others are declared in the same way.
!
! Names end with c_null_char: "my-array"//c_null_char. A handle is a type(c_ptr), c_null_ptr where there is none.
module shmkit
    use, intrinsic :: iso_c_binding
    implicit none
    public

    integer(c_int), parameter :: SHMKIT_OK = 0, SHMKIT_WOULD_BLOCK = 1, SHMKIT_TIMED_OUT = 2, SHMKIT_POISONED = 3, &
        SHMKIT_WOULD_DEADLOCK = 4, SHMKIT_NOT_HELD = 5, SHMKIT_BAD_HANDLE = 6, SHMKIT_INVALID_ARGUMENT = 7, &
        SHMKIT_BARRIER_BROKEN = 8, SHMKIT_CLOSED = 9, SHMKIT_ALREADY_EXISTS = 14, SHMKIT_NOT_FOUND = 15, &
        SHMKIT_TYPE_MISMATCH = 21, SHMKIT_OUT_OF_RANGE = 22
    integer(c_int32_t), parameter :: SHMKIT_READ = 1, SHMKIT_CHANGE = 2

    type, bind(C) :: shmkit_wait
        integer(c_int64_t) :: until
    end type

    type, bind(C) :: shmkit_type
        type(c_ptr) :: name
        integer(c_size_t) :: size, align
    end type

    type, bind(C) :: shmkit_claim
        type(c_ptr) :: data
        integer(c_size_t) :: start, len, slot
    end type

    type(shmkit_wait), parameter :: SHMKIT_FOREVER = shmkit_wait(huge(0_c_int64_t)), SHMKIT_TRY = shmkit_wait(-1)

    ! The same sizes as in C: a compiler that disagrees refuses to divide by 0.
    integer, parameter, private :: same_sizes = &
        1/merge(1, 0, storage_size(SHMKIT_TRY) == 64 .and. storage_size(shmkit_claim(c_null_ptr, 0, 0, 0)) == 256)

    type(shmkit_type), bind(C), protected :: shmkit_i32, shmkit_i64, shmkit_f32, shmkit_f64

    interface
        function shmkit_last_error_c() bind(C, name="shmkit_last_error")
            import :: c_ptr
            type(c_ptr) :: shmkit_last_error_c
        end function
        integer(c_int32_t) function shmkit_last_pid() bind(C)
            import :: c_int32_t
        end function
        function shmkit_timeout(seconds) bind(C)
            import :: shmkit_wait, c_double
            real(c_double), value :: seconds
            type(shmkit_wait) :: shmkit_timeout
        end function
        integer(c_int) function shmkit_unlink(name) bind(C)
            import :: c_int, c_char
            character(kind=c_char), intent(in) :: name(*)
        end function

        integer(c_int) function shmkit_array_create(region, name, type, shape, rank, array) bind(C)
            import :: c_int, c_ptr, c_char, c_size_t, shmkit_type
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            integer(c_size_t), intent(in) :: shape(*)
            integer(c_size_t), value :: rank
            type(c_ptr), intent(out) :: array
        end function
        integer(c_int) function shmkit_array_open(region, name, type, array) bind(C)
            import :: c_int, c_ptr, c_char, shmkit_type
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(shmkit_type), intent(in) :: type
            type(c_ptr), intent(out) :: array
        end function
        integer(c_int) function shmkit_array_close(array) bind(C)
            import :: c_int, c_ptr
            type(c_ptr), value :: array
        end function
        integer(c_int) function shmkit_array_data(array, data) bind(C)
            import :: c_int, c_ptr
            type(c_ptr), value :: array
            type(c_ptr), intent(out) :: data
        end function
        integer(c_int) function shmkit_array_shape(array, shape, room, rank) bind(C)
            import :: c_int, c_ptr, c_size_t
            type(c_ptr), value :: array
            integer(c_size_t), intent(out) :: shape(*)
            integer(c_size_t), value :: room
            integer(c_size_t), intent(out) :: rank
        end function
        integer(c_int) function shmkit_array_lock(array, wait) bind(C)
            import :: c_int, c_ptr, shmkit_wait
            type(c_ptr), value :: array
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_array_recover(array, wait) bind(C)
            import :: c_int, c_ptr, shmkit_wait
            type(c_ptr), value :: array
            type(shmkit_wait), value :: wait
        end function
        integer(c_int) function shmkit_array_clear_poison(array) bind(C)
            import :: c_int, c_ptr
            type(c_ptr), value :: array
        end function
        integer(c_int) function shmkit_array_unlock(array) bind(C)
            import :: c_int, c_ptr
            type(c_ptr), value :: array
        end function
        integer(c_int) function shmkit_array_claim(array, start, len, mode, wait, claim) bind(C)
            import :: c_int, c_ptr, c_size_t, c_int32_t, shmkit_wait, shmkit_claim
            type(c_ptr), value :: array
            integer(c_size_t), value :: start, len
            integer(c_int32_t), value :: mode
            type(shmkit_wait), value :: wait
            type(shmkit_claim), intent(out) :: claim
        end function
        integer(c_int) function shmkit_claim_end(array, claim) bind(C)
            import :: c_int, c_ptr, shmkit_claim
            type(c_ptr), value :: array
            type(shmkit_claim), intent(inout) :: claim
        end function

        integer(c_int) function shmkit_barrier_create(region, name, parties, barrier) bind(C)
            import :: c_int, c_ptr, c_char, c_size_t
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            integer(c_size_t), value :: parties
            type(c_ptr), intent(out) :: barrier
        end function
        integer(c_int) function shmkit_barrier_open(region, name, barrier) bind(C)
            import :: c_int, c_ptr, c_char
            type(c_ptr), value :: region
            character(kind=c_char), intent(in) :: name(*)
            type(c_ptr), intent(out) :: barrier
        end function
        integer(c_int) function shmkit_barrier_wait(barrier, wait, index) bind(C)
            import :: c_int, c_ptr, c_size_t, shmkit_wait
            type(c_ptr), value :: barrier
            type(shmkit_wait), value :: wait
            integer(c_size_t), intent(out) :: index
        end function
        integer(c_int) function shmkit_barrier_close(barrier) bind(C)
            import :: c_int, c_ptr
            type(c_ptr), value :: barrier
        end function
    end interface

contains

    ! The text of the last failure in this thread.
    function shmkit_last_error() result(text)
        character(:), allocatable :: text
        character(kind=c_char), pointer :: bytes(:)
        integer :: n
        call c_f_pointer(shmkit_last_error_c(), bytes, [4096])
        n = 0
        do while (bytes(n + 1) /= c_null_char)
            n = n + 1
        end do
        allocate (character(n) :: text)
        text = transfer(bytes(1:n), text)
    end function
end module
