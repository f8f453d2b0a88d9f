//! The four forms of an operation that may have to wait, once for all channels.

/// `name, try_name, name_timeout, name_deadline (arguments) -> value: within`, where `within` takes the arguments and a
/// `Wait`.
macro_rules! four_forms {
    (
        $(#[$doc:meta])*
        $forever:ident, $try:ident, $timeout:ident, $deadline:ident
            ($($argument:ident: $type:ty),*) -> $output:ty: $within:ident
    ) => {
        $(#[$doc])*
        #[inline]
        pub fn $forever(&self $(, $argument: $type)*) -> crate::Result<$output> {
            self.$within($($argument,)* crate::os::clock::Wait::Forever)
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), without waiting.")]
        ///
        /// # Errors
        ///
        /// [`WouldBlock`](crate::Error::WouldBlock); else the same.
        ///
        /// # Examples
        ///
        /// See the type.
        #[inline]
        pub fn $try(&self $(, $argument: $type)*) -> crate::Result<$output> {
            self.$within($($argument,)* crate::os::clock::Wait::No)
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), waiting at most `timeout`.")]
        ///
        /// # Errors
        ///
        /// [`TimedOut`](crate::Error::TimedOut); else the same.
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn $timeout(&self $(, $argument: $type)*, timeout: std::time::Duration) -> crate::Result<$output> {
            self.$within($($argument,)* crate::os::clock::Wait::timeout(timeout))
        }

        #[doc = concat!("As [`", stringify!($forever), "`](Self::", stringify!($forever), "), until `deadline` at most.")]
        ///
        /// # Errors
        ///
        /// [`TimedOut`](crate::Error::TimedOut); else the same.
        ///
        /// # Examples
        ///
        /// See the type.
        pub fn $deadline(&self $(, $argument: $type)*, deadline: std::time::Instant) -> crate::Result<$output> {
            self.$within($($argument,)* crate::os::clock::Wait::deadline(deadline))
        }
    };
}
pub(crate) use four_forms;
