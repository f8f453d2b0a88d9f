fn main() {
    let flag = shmkit::AtomicValue::new(true).unwrap();
    flag.fetch_add(true, std::sync::atomic::Ordering::Relaxed);
}
