fn main() {
    let lock = shmkit::Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(guard));
    });
}
