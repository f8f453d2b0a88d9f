fn main() {
    let (_caller, responder) = shmkit::pipe::call::<u32, u32>().unwrap();
    let (number, reply) = responder.recv().unwrap();
    reply.send(&number).unwrap();
    reply.send(&number).unwrap();
}
