#[derive(Clone, Copy)]
enum Colour {
    Red,
}

fn main() {
    let _ = shmkit::Value::new(Colour::Red);
}
