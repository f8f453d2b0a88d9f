fn main() {
    let _ = shmkit::Value::new("text");
}
