//! What pipes are for, one idea after the other: a conversation, requests and their answers, handles and connections as
//! messages, waiting for several at a time, and how one learns that the other one is gone.
//!
//! ```text
//! cargo run --example pipe            # the children are fresh starts of this program
//! cargo run --example pipe -- fork    # they are copies of this process
//! ```
//!
//! prints, both times,
//!
//! ```text
//! a conversation: ONE, TWO, THREE
//! requests: 9, 16 and 25 by two who answer
//! a parcel: [1, 4, 9, 16], and "squared 4 numbers" through the connection that went along
//! many at a time: 20 results of 2 workers, 90 in all, and both have ended
//! a child is killed: after "here I am" the channel is closed
//! ```

use std::{os::fd::AsFd, thread};

use shmkit::{
    Array, Error, Process, Result, StartMethod,
    pipe::{self, Connection, Receiver, Responder, Sender},
    process,
};

fn main() -> Result<()> {
    shmkit::init();
    if std::env::args().nth(1).as_deref() == Some("fork") {
        process::set_start_method(StartMethod::Fork)?;
    }
    conversation()?;
    requests()?;
    parcel()?;
    many_at_a_time()?;
    killed()
}

/// Both sides speak and listen. It ends when one side drops its end.
fn conversation() -> Result<()> {
    fn shout(parent: Connection<String>) -> Result<()> {
        parent.iter().try_for_each(|word| parent.send(&word?.to_uppercase()))
    }

    let (connection, its_end) = pipe::duplex()?;
    let child = Process::spawn(shout, (its_end,))?;
    let mut heard = Vec::new();
    for word in ["one", "two", "three"] {
        connection.send(&word.to_string())?;
        heard.push(connection.recv()?);
    }
    println!("a conversation: {}", heard.join(", "));
    drop(connection);
    child.join()
}

/// Each answer finds the one who has asked, however many ask and answer.
fn requests() -> Result<()> {
    fn square(requests: Responder<u64, u64>) -> Result<()> {
        requests.serve(|number| number * number)
    }

    let (caller, responder) = pipe::call()?;
    let servers = [Process::spawn(square, (responder.clone(),))?, Process::spawn(square, (responder,))?];
    println!("requests: {}, {} and {} by two who answer", caller.call(&3)?, caller.call(&4)?, caller.call(&5)?);
    drop(caller);
    servers.iter().try_for_each(Process::join)
}

/// The array stays where it is, and the child gets a handle of it; the child's answer comes by a pipe of its own.
fn parcel() -> Result<()> {
    type Parcel = (Array<u32>, Sender<String>);

    fn unpack(parcels: Receiver<Parcel>) -> Result<()> {
        let (array, answer) = parcels.recv()?;
        let mut numbers = array.lock()?;
        numbers.iter_mut().for_each(|x| *x *= *x);
        answer.send(&format!("squared {} numbers", numbers.len()))
    }

    let (parcels, its_end) = pipe::simplex()?;
    let child = Process::spawn(unpack, (its_end,))?;
    let array = Array::from_iter(1..=4)?;
    let (its_answer, answer) = pipe::simplex()?;
    parcels.send(&(array.clone(), its_answer))?;
    let answer = answer.recv()?;
    println!("a parcel: {:?}, and {answer:?} through the connection that went along", array.to_vec()?);
    child.join()
}

/// Results come from whoever has one; whoever ends is seen at once, although the other one still has the sending end.
fn many_at_a_time() -> Result<()> {
    fn work(results: Sender<u64>) -> Result<()> {
        (0..10).try_for_each(|result| results.send(&result))
    }

    let (sender, results) = pipe::simplex()?;
    let workers = [Process::spawn(work, (sender.clone(),))?, Process::spawn(work, (sender.clone(),))?];
    let mut at_work: Vec<_> = workers.iter().collect();
    let mut all = Vec::new();
    while !at_work.is_empty() {
        let mut sources: Vec<&dyn AsFd> = vec![&results];
        sources.extend(at_work.iter().map(|worker| worker as &dyn AsFd));
        // From the last to the first, so that the positions of those before stay what they are.
        for ready in pipe::wait(&sources)?.into_iter().rev() {
            match ready {
                0 => all.push(results.recv()?),
                worker => at_work.remove(worker - 1).join()?,
            }
        }
    }
    // What they had sent is still there. It has an end when nobody has the sending end any more.
    drop(sender);
    all.extend(results.iter().collect::<Result<Vec<_>>>()?);
    println!(
        "many at a time: {} results of {} workers, {} in all, and both have ended",
        all.len(),
        workers.len(),
        all.iter().sum::<u64>()
    );
    Ok(())
}

/// What the dead had sent arrives, and then the end: nobody waits for them.
fn killed() -> Result<()> {
    fn wait_for_ever(parent: Sender<String>) -> Result<()> {
        parent.send(&"here I am".into())?;
        loop {
            thread::park();
        }
    }

    let (its_end, from_child) = pipe::simplex()?;
    let child = Process::spawn(wait_for_ever, (its_end,))?;
    let last_words = from_child.recv()?;
    child.kill()?;
    match from_child.recv() {
        Err(error @ Error::Closed) => println!("a child is killed: after {last_words:?} {error}"),
        other => panic!("expected the end of the connection, got {other:?}"),
    }
    Ok(())
}
