fn main() {
    let _ = shmkit::Value::new(true);
}
