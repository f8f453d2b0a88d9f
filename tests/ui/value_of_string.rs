fn main() {
    let _ = shmkit::Value::new(String::new());
}
