//! placeholder
#![expect(unsafe_code, reason = "copies memory that others may write")]
/// # Safety
/// valid
pub(crate) unsafe fn load<T>(shared: *const T, private: *mut T, count: usize) {
    // SAFETY: caller
    unsafe { std::ptr::copy_nonoverlapping(shared, private, count) };
}
/// # Safety
/// valid
pub(crate) unsafe fn store<T>(private: *const T, shared: *mut T, count: usize) {
    // SAFETY: caller
    unsafe { std::ptr::copy_nonoverlapping(private, shared, count) };
}
