fn main() {
    let (_sender, receiver) = shmkit::pipe::simplex::<u32>().unwrap();
    receiver.send(&1).unwrap();
}
