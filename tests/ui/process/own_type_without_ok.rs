#[derive(serde::Serialize, serde::Deserialize)]
struct Own;

fn f() -> Own {
    Own
}

fn main() {
    let _child = shmkit::Process::spawn(f, ());
}
