fn main() {
    let guard = {
        let value = shmkit::Value::new(1).unwrap();
        value.lock().unwrap()
    };
    println!("{}", *guard);
}
