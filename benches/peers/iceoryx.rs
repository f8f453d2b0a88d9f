//! iceoryx2's publish-subscribe, with one publisher and one subscriber in each direction.
//!
//! A subscriber only looks, and never sleeps: both ends spin. Nothing is thrown away, for there is no overflow and a
//! publisher waits for room.

use std::{
    env, fs,
    hint::spin_loop,
    path::{Path, PathBuf},
    process,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use iceoryx2::{
    port::{publisher::Publisher, subscriber::Subscriber, update_connections::UpdateConnections},
    prelude::{BackpressureStrategy, Config, LogLevel, Node, NodeBuilder, SignalHandlingMode, ipc, set_log_level},
    service::port_factory::publish_subscribe::PortFactory,
};

use crate::{
    compare::Run,
    flow::{Message, ROOM, Role, few_between_processes},
    shared::Shared,
};

/// How the names begin of all that iceoryx2 makes; the id of this process follows.
const PREFIX: &str = "shmkit_peers_";

/// Where iceoryx2 keeps its files. They go away with it.
pub(crate) struct Iceoryx {
    config: Config,
}

impl Iceoryx {
    pub(crate) fn new() -> Self {
        set_log_level(LogLevel::Error);
        // What runs left that were ended.
        remove_files(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        let name = format!("{PREFIX}{}_", process::id());
        let folder = env::temp_dir().join(&name);
        let mut config = Config::default();
        config.global.set_root_path(&folder.to_str().expect("a name in UTF-8").try_into().expect("a path"));
        config.global.prefix = name.as_str().try_into().expect("a prefix");
        Self { config }
    }

    /// As the function of this name, with the ports of each. The time begins when all of them know each other.
    pub(crate) fn few_between_processes(&self, part: u64, work: impl Fn(&Ports, Role, u64)) -> Run {
        let [arrived, nanoseconds] = [(); 2].map(|()| Shared::<AtomicU64>::zeroed());
        let meet = || {
            // Both have come, as often as this one.
            let all = arrived.fetch_add(1, AcqRel) / 2 * 2 + 2;
            while arrived.load(Acquire) < all {
                thread::yield_now();
            }
        };
        let run = few_between_processes(part, |role, count| {
            let node = NodeBuilder::new().config(&self.config).signal_handling_mode(SignalHandlingMode::Disabled);
            let node = node.create::<ipc::Service>().expect("a node");
            let ports = Ports::new(&node, role);
            meet();
            ports.look_around();
            meet();
            let begin = Instant::now();
            work(&ports, role, count);
            if role == Role::Consumer {
                nanoseconds.store(begin.elapsed().as_nanos() as u64, Relaxed);
            }
            // What was sent last may lie in the memory of a port.
            meet();
        });
        Run { time: Duration::from_nanos(nanoseconds.load(Relaxed)), ..run }
    }
}

impl Drop for Iceoryx {
    fn drop(&mut self) {
        // The workers have ended. One file, for all of its nodes, iceoryx2 never removes itself.
        remove_files(|pid| pid == process::id());
    }
}

/// Removes the files of runs in these processes.
fn remove_files(is_wanted: impl Fn(u32) -> bool) {
    let folders = [env::temp_dir(), PathBuf::from("/dev/shm")];
    for file in folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let name = file.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('_').next()?.parse().ok());
        if pid.is_some_and(&is_wanted) {
            let path = file.path();
            // Gone already, if another run does the same.
            _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// One worker's ends of both directions.
pub(crate) struct Ports {
    publisher: Publisher<ipc::Service, Message, ()>,
    subscriber: Subscriber<ipc::Service, Message, ()>,
}

impl Ports {
    fn new(node: &Node<ipc::Service>, role: Role) -> Self {
        let (out, into) = match role {
            Role::Producer => ("there", "back"),
            Role::Consumer => ("back", "there"),
        };
        let publisher = direction(node, out)
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .expect("a publisher");
        let subscriber = direction(node, into).subscriber_builder().create().expect("a subscriber");
        Self { publisher, subscriber }
    }

    /// Finds the ports of the other side.
    fn look_around(&self) {
        self.publisher.update_connections().expect("subscribers");
        assert!(!self.subscriber.has_samples().expect("publishers"));
    }

    #[inline]
    pub(crate) fn send(&self, message: Message) {
        let sample = self.publisher.loan_uninit().expect("a place").write_payload(message);
        assert_eq!(sample.send().expect("send"), 1);
    }

    #[inline]
    pub(crate) fn receive(&self) -> Message {
        loop {
            for _ in 0..1024 {
                if let Some(sample) = self.subscriber.receive().expect("receive") {
                    return *sample;
                }
                spin_loop();
            }
            // So that a test run on a busy machine ends.
            thread::yield_now();
        }
    }
}

fn direction(node: &Node<ipc::Service>, name: &str) -> PortFactory<ipc::Service, Message, ()> {
    node.service_builder(&name.try_into().expect("a name"))
        .publish_subscribe::<Message>()
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size(ROOM)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .expect("a service")
}
