//! iceoryx2's publish-subscribe, with one publisher and one subscriber.
//!
//! A subscriber only looks, and never sleeps: both ends spin. Nothing is thrown away, for there is no overflow and a
//! publisher waits for room.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use iceoryx2::{
    port::{publisher::Publisher, subscriber::Subscriber, update_connections::UpdateConnections},
    prelude::{BackpressureStrategy, Config, LogLevel, Node, NodeBuilder, SignalHandlingMode, ipc, set_log_level},
    service::port_factory::publish_subscribe::PortFactory,
};

use crate::{
    peers::{crossbeam::spin, words},
    sample::{PREFIX, name},
    workloads::channel::{Channel, Shape},
};

/// Slices of bytes.
pub(crate) struct Slices {
    config: Config,
    service: String,
    shape: Shape,
}

/// A node, and what lives no longer than it.
pub(crate) struct On<P> {
    port: P,
    _service: PortFactory<ipc::Service, [u8], ()>,
    _node: Node<ipc::Service>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Slices {
    fn join<P>(&self, port: impl FnOnce(&PortFactory<ipc::Service, [u8], ()>) -> P) -> On<P> {
        let node = NodeBuilder::new().config(&self.config).signal_handling_mode(SignalHandlingMode::Disabled);
        let node = node.create::<ipc::Service>().expect("a node");
        let service = node
            .service_builder(&self.service.as_str().try_into().expect("a name"))
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(self.shape.room())
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
            .expect("a service");
        On { port: port(&service), _service: service, _node: node }
    }
}

impl Channel for Slices {
    type Sender<'a> = On<Publisher<ipc::Service, [u8], ()>>;
    type Receiver<'a> = On<Subscriber<ipc::Service, [u8], ()>>;

    fn new(shape: Shape) -> Result<Self, String> {
        if shape.pairs > 1 {
            return Err("each subscriber gets every message".into());
        }
        set_log_level(LogLevel::Fatal);
        let prefix = name("");
        // Beside the other files of samples, for nodes of a process that was killed leave theirs.
        let folder = env::temp_dir().join(format!("{PREFIX}iceoryx"));
        let mut config = Config::default();
        config.global.set_root_path(&folder.to_str().expect("a name in UTF-8").try_into().map_err(|_| "a long path")?);
        config.global.prefix = prefix.as_str().try_into().map_err(|_| "a long name")?;
        Ok(Self { config, service: format!("channel {}", NEXT.fetch_add(1, Relaxed)), shape })
    }

    fn sender(&self) -> Self::Sender<'_> {
        self.join(|service| {
            let publisher = service.publisher_builder().initial_max_slice_len(self.shape.size);
            publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered).create().expect("a publisher")
        })
    }

    fn receiver(&self) -> Self::Receiver<'_> {
        self.join(|service| service.subscriber_builder().create().expect("a subscriber"))
    }

    fn connect_sender(sender: &mut Self::Sender<'_>) {
        sender.port.update_connections().expect("subscribers");
    }

    fn connect_receiver(receiver: &mut Self::Receiver<'_>) {
        assert!(!receiver.port.has_samples().expect("publishers"));
    }

    #[inline]
    fn send(sender: &mut Self::Sender<'_>, message: &[u8]) -> Result<(), String> {
        let sample = sender.port.loan_slice_uninit(message.len()).map_err(|error| format!("{error:?}"))?;
        let receivers = sample.write_from_slice(message).send().map_err(|error| format!("{error:?}"))?;
        if receivers == 1 { Ok(()) } else { Err(words("no subscriber")) }
    }

    #[inline]
    fn receive(receiver: &mut Self::Receiver<'_>, into: &mut [u8]) -> Result<(), String> {
        let sample = spin(|| receiver.port.receive().transpose());
        into.copy_from_slice(&sample.map_err(|error| format!("{error:?}"))?);
        Ok(())
    }
}
