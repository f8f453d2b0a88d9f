struct Own;

fn f(_: Own) {}

fn main() {
    let _child = shmkit::Process::spawn(f, (Own,));
}
