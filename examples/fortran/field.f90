! A named array of 3 rows and 4 columns, as other programs see it: in Fortran, whose first index runs fastest, 4 by 3.
!
!     gfortran include/shmkit.f90 examples/fortran/field.f90 -L capi/target/release -lshmkit -o field
program field
    use shmkit
    implicit none
    character(64) :: name
    character(80) :: history
    type(c_ptr) :: array, data, again, past, view
    real(c_double) :: last(4)
    type(shmkit_claim) :: claim
    real(c_double), pointer :: elements(:, :), row(:)
    integer(c_size_t) :: shape(8), rank, length
    integer :: i

    call get_command_argument(1, name)
    if (name == "") name = "shmkit-fortran-field"
    history = trim(name)//"-history"//c_null_char
    name = trim(name)//c_null_char
    call must(shmkit_array_create(c_null_ptr, name, shmkit_f64, [3_c_size_t, 4_c_size_t], 2_c_size_t, array))
    call must(shmkit_array_data(array, data))
    call c_f_pointer(data, elements, [4, 3])

    call must(shmkit_array_lock(array, SHMKIT_FOREVER))
    elements = reshape([(real(i, c_double), i=1, 12)], [4, 3])
    call must(shmkit_array_unlock(array))

    ! The second row, by a claim: 4 elements from the one with index 4 on, which counts from 0.
    call must(shmkit_array_claim(array, 4_c_size_t, 4_c_size_t, SHMKIT_CHANGE, shmkit_timeout(10d0), claim))
    call c_f_pointer(claim%data, row, [claim%len])
    row = -row
    call must(shmkit_claim_end(array, claim))

    call must(shmkit_array_open(c_null_ptr, name, shmkit_f64, again))
    call must(shmkit_array_shape(again, shape, 8_c_size_t, rank))
    if (shmkit_array_unlock(array) /= SHMKIT_NOT_HELD) error stop "it was held"
    print "(a, i0, a, i0, a, f0.1)", "shape ", shape(1), " x ", shape(2), ", sum ", sum(elements)
    call must(shmkit_array_close(again))

    ! A history that grows by a row of 4 at a time, and what a program sees that may only read it.
    call must(shmkit_array_create_growable(c_null_ptr, history, shmkit_f64, [0_c_size_t, 4_c_size_t], 2_c_size_t, &
        1000_c_size_t, past))
    do i = 1, 3
        call must(shmkit_array_extend(past, elements(:, i), 4_c_size_t, SHMKIT_FOREVER))
    end do
    call must(shmkit_view_open(history, shmkit_f64, view))
    call must(shmkit_view_len(view, length))
    call must(shmkit_view_load(view, 8_c_size_t, 4_c_size_t, last))
    print "(a, i0, a, f0.1)", "history of ", length, " numbers, the last ", last(4)
    call must(shmkit_view_close(view))
    call must(shmkit_array_close(past))
    call must(shmkit_unlink(history))
    call must(shmkit_array_close(array))
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
