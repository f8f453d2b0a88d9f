fn release<G: shmkit::CondvarGuard>(guard: &mut G) {
    guard.release();
}

fn main() {
    let value = shmkit::Value::new(1).unwrap();
    let mut guard = value.lock().unwrap();
    release(&mut guard);
    *value.lock().unwrap() += 1;
    *guard += 1;
}
