//! The contracts of `pool.rs` under libtest, for the start methods that need no fork of it. The root says which: `METHOD`.

use std::sync::{Mutex, PoisonError};

use shmkit::process::set_start_method;

use crate::{METHOD, support::Deadline};

#[path = "pool.rs"]
mod contracts;

macro_rules! tests {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            let _deadline = Deadline::seconds(120, stringify!($name));
            set_start_method(METHOD).unwrap();
            contracts::$name();
        }
    )*};
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

contracts::for_each_pool_contract!(tests);
contracts::for_each_contract_of_sent_workers!(tests);
