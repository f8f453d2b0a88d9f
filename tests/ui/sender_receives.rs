fn main() {
    let (sender, _receiver) = shmkit::pipe::simplex::<u32>().unwrap();
    sender.poll().unwrap();
    sender.recv().unwrap();
}
