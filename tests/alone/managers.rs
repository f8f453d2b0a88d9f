//! A server and its clients by each start method, for tests that run without libtest.

use shmkit::{
    Manager, Process,
    process::{Message, Outcome, StartMethod, Target},
};

/// By which method all processes of a test are started.
#[derive(Clone, Copy)]
pub(crate) struct With(pub(crate) StartMethod);

pub(crate) type Output<F, A> = <<F as Target<A>>::Outcome as Outcome>::Output;

impl With {
    pub(crate) fn manager(self) -> Manager {
        Manager::builder().start_method(self.0).start().unwrap()
    }

    pub(crate) fn start<F: Target<A>, A: Message>(self, target: F, args: A) -> Process<Output<F, A>> {
        Process::builder(target).args(args).start_method(self.0).start().unwrap()
    }

    pub(crate) fn run<F: Target<A>, A: Message>(self, target: F, args: A) -> Output<F, A> {
        self.start(target, args).join().unwrap()
    }
}

/// Each of these tests by each start method, by name.
macro_rules! contracts {
    ($($name:ident),* $(,)?) => {
        &[$(
            (concat!(stringify!($name), ", fork"), || $name($crate::managers::With(shmkit::StartMethod::Fork))),
            (concat!(stringify!($name), ", fork server"), || $name($crate::managers::With(shmkit::StartMethod::ForkServer))),
            (concat!(stringify!($name), ", spawn"), || $name($crate::managers::With(shmkit::StartMethod::Spawn))),
        )*]
    };
}

pub(crate) use contracts;
