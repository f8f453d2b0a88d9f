fn main() {
    let _ = shmkit::Value::new((1_u32, 2_u32));
}
