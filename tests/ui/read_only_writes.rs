fn main() {
    let view = shmkit::AtomicValue::<u32>::open_read_only("name").unwrap();
    view.store(1, std::sync::atomic::Ordering::Relaxed);
}
