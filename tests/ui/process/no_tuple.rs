fn f(_: u32) {}

fn main() {
    let _child = shmkit::Process::spawn(f, 7_u32);
}
