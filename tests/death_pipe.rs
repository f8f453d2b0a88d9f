//! Pipes whose processes are killed: every message whose `send` returned is received once, or went with one who was killed
//! when it had received it; each sender's come in order; nobody hangs.

#![allow(unsafe_code, reason = "the children's module forks")]

mod support;

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering::SeqCst,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shmkit::{
    AtomicArray, AtomicValue, Error, Process, Result, Value,
    pipe::{self, Caller, Fd, Receiver, Responder, Sender},
};
use support::{Deadline, Random, eventually};

shmkit::init_in_tests!();

const SENDERS: usize = 3;
const RECEIVERS: usize = 2;
const MESSAGES: usize = 3000;
const KILLS: usize = 150;

#[derive(Serialize, Deserialize)]
struct Message {
    from: usize,
    number: usize,
    /// As many bytes as its number has it, some more than go in one packet.
    bytes: Vec<u8>,
    value: Option<Value<u64>>,
    fd: Option<Fd>,
}

impl Message {
    fn new(from: usize, number: usize) -> Result<Self> {
        let length = if number % 50 == 49 { 70_000 } else { number % 600 };
        let value = (number % 10 == 3).then(|| Value::new(number as u64)).transpose()?;
        let fd = (number % 10 == 7).then(|| Fd::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap()));
        Ok(Self { from, number, bytes: vec![number as u8; length], value, fd })
    }

    fn check(self) {
        let as_it_was = Self::new(self.from, self.number).unwrap();
        assert!(self.bytes == as_it_was.bytes);
        assert_eq!(self.value.map(|value| value.get().unwrap()), as_it_was.value.map(|value| value.get().unwrap()));
        assert_eq!(self.fd.is_some(), as_it_was.fd.is_some());
        // Owned by this process.
        drop(self.fd.map(OwnedFd::from));
    }
}

/// What has become of the messages.
#[derive(Clone, Serialize, Deserialize)]
struct Account {
    /// Of each sender, the number of its next message.
    next: AtomicArray<u64>,
    /// Whether `send` has returned, and how often the message was received.
    sent: AtomicArray<u32>,
    received: AtomicArray<u32>,
}

impl Account {
    fn new() -> Self {
        let each = || AtomicArray::zeros(SENDERS * MESSAGES).unwrap();
        Self { next: AtomicArray::zeros(SENDERS).unwrap(), sent: each(), received: each() }
    }

    fn is_all_sent(&self) -> bool {
        self.next.iter().all(|next| next.load(SeqCst) == MESSAGES as u64)
    }

    /// One after the other, each tried once by whichever process is this sender at the time.
    fn send(sender: Sender<Message>, from: usize, account: Self) -> Result<()> {
        loop {
            let number = account.next[from].load(SeqCst) as usize;
            if number == MESSAGES {
                return Ok(());
            }
            account.next[from].store(number as u64 + 1, SeqCst);
            sender.send(&Message::new(from, number)?)?;
            account.sent[from * MESSAGES + number].store(1, SeqCst);
        }
    }

    fn receive(receiver: Receiver<Message>, account: Self) -> Result<()> {
        let mut last = [None; SENDERS];
        for message in receiver.iter() {
            let message = message?;
            let (from, number) = (message.from, message.number);
            message.check();
            assert!(last[from].replace(number) < Some(number), "out of order");
            account.received[from * MESSAGES + number].fetch_add(1, SeqCst);
        }
        Ok(())
    }

    /// The messages that were sent and not received.
    fn lost(&self) -> usize {
        assert!(self.received.iter().all(|times| times.load(SeqCst) <= 1));
        let both = self.sent.iter().zip(self.received.iter());
        both.filter(|(sent, received)| sent.load(SeqCst) == 1 && received.load(SeqCst) == 0).count()
    }
}

fn kill<T>(process: &Process<T>) {
    process.kill().unwrap();
    let _ = process.join_timeout(Duration::from_secs(20));
}

#[test]
fn senders_and_receivers_are_killed() {
    let _deadline = Deadline::seconds(120, "senders_and_receivers_are_killed");
    let mut random = Random::new();
    let account = Account::new();
    let (sender, receiver) = pipe::simplex().unwrap();
    let start = |who: usize| match who {
        ..SENDERS => Process::builder(Account::send).args((sender.clone(), who, account.clone())).daemon(true).start(),
        _ => Process::builder(Account::receive).args((receiver.clone(), account.clone())).daemon(true).start(),
    };
    let start = |who| start(who).unwrap();
    let mut processes: Vec<_> = (0..SENDERS + RECEIVERS).map(start).collect();
    let mut receivers_killed = 0;
    for kills in 0.. {
        if kills >= KILLS && account.is_all_sent() {
            break;
        }
        random.pause(Duration::from_millis(3));
        let who = random.below(processes.len() as u64) as usize;
        if kills < KILLS {
            kill(&processes[who]);
            processes[who] = start(who);
            receivers_killed += usize::from(who >= SENDERS);
        }
    }
    drop(sender);
    drop(receiver);
    for process in processes {
        process.join_timeout(Duration::from_secs(60)).unwrap().expect("nothing is left to wait for");
    }
    let lost = account.lost();
    assert!(lost <= receivers_killed, "{lost} messages lost with {receivers_killed} receivers");
}

/// Each caller is answered, or told at once that it will not be.
#[test]
fn those_who_answer_are_killed() {
    let _deadline = Deadline::seconds(120, "those_who_answer_are_killed");
    let mut random = Random::new();
    let (caller, responder) = pipe::call::<u64, u64>().unwrap();
    let ask = |caller: Caller<u64, u64>, count: u64| {
        let (mut answers, mut unanswered) = (0, 0);
        while answers < count {
            match caller.call(&answers) {
                Ok(answer) => {
                    assert_eq!(answer, answers + 1);
                    answers += 1;
                }
                Err(Error::NoReply) => unanswered += 1,
                Err(error) => return Err(error),
            }
        }
        Ok::<u64, Error>(unanswered)
    };
    let serve = |responder: Responder<u64, u64>| responder.serve(|number| number + 1);
    let start = || Process::builder(serve).args((responder.clone(),)).daemon(true).start().unwrap();
    let mut servers = [start(), start()];
    let callers = [0; 3].map(|_| Process::builder(ask).args((caller.clone(), 5000)).daemon(true).start().unwrap());
    let mut kills = 0;
    while kills < KILLS as u64 || callers.iter().any(Process::is_alive) {
        random.pause(Duration::from_millis(3));
        if kills < KILLS as u64 {
            let who = &mut servers[random.below(2) as usize];
            kill(who);
            *who = start();
            kills += 1;
        }
    }
    drop((caller, responder));
    let unanswered: u64 = callers.iter().map(|caller| caller.join().unwrap()).sum();
    assert!(unanswered <= kills, "{unanswered} unanswered with {kills} kills");
    servers.iter().for_each(|server| server.join().unwrap());
}

/// As many descriptors are under way as this user may have open, and nobody takes them. Whoever waits to send one more is
/// told all the same that the other end is gone.
#[test]
fn the_end_is_seen_while_too_many_descriptors_are_under_way() {
    fn starve() -> Result<()> {
        // What is under way is counted for each user, and who may do anything is not limited: so as one that has nothing
        // else under way. One who may not become another user shares the count with others.
        let user = (1 << 20) + std::process::id();
        // SAFETY: takes numbers.
        let is_alone = unsafe { libc::setresuid(user, user, user) } == 0;
        let limit = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
        // SAFETY: reads a live struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let fd = || Fd::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
        let (full, _receiver) = pipe::simplex::<Fd>()?;
        let sent = (0..1000).take_while(|_| full.try_send(&fd()).is_ok()).count();
        assert!(sent < 50 || !is_alone, "{sent} under way");

        let (sender, receiver) = pipe::simplex::<Fd>()?;
        if is_alone {
            assert!(sender.try_send(&fd()).unwrap_err().is_would_block());
            assert!(sender.send_timeout(&fd(), Duration::from_millis(20)).unwrap_err().is_timed_out());
        }
        let waiting = thread::spawn(move || {
            let waited = sender.send(&fd());
            assert!(matches!(waited, Err(Error::Closed)) || !is_alone, "{waited:?}");
            [sender.send(&fd()), sender.try_send(&fd()), sender.send_timeout(&fd(), Duration::MAX)]
        });
        thread::sleep(Duration::from_millis(50));
        drop(receiver);
        for result in waiting.join().unwrap() {
            assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        }
        Ok(())
    }
    let _deadline = Deadline::seconds(60, "the_end_is_seen_while_too_many_descriptors_are_under_way");
    let child = Process::builder(starve).daemon(true).start().unwrap();
    child.join_timeout(Duration::from_secs(20)).unwrap().expect("it was told");
}

/// Long messages take a while to write and to read; a process can be killed at any moment of that. What arrives is whole,
/// and the others see the end.
#[test]
fn those_who_send_and_receive_long_messages_are_killed() {
    const LENGTH: usize = 16 << 20;
    const ROUNDS: usize = 20;
    fn send(sender: Sender<()>) -> Result<()> {
        (1..=255).cycle().try_for_each(|number| sender.send_bytes(&vec![number; LENGTH]))
    }
    fn receive(receiver: Receiver<()>, received: AtomicValue<u64>) -> Result<()> {
        loop {
            check(&receiver.recv_bytes()?);
            received.fetch_add(1, SeqCst);
        }
    }
    fn check(bytes: &[u8]) {
        assert_eq!(bytes.len(), LENGTH);
        assert!(bytes[1..] == bytes[..LENGTH - 1] && bytes[0] != 0, "not all the same");
    }
    let _deadline = Deadline::seconds(120, "those_who_send_and_receive_long_messages_are_killed");
    let mut random = Random::new();
    let mut arrived = 0;
    for _ in 0..ROUNDS {
        let (sender, receiver) = pipe::simplex().unwrap();
        let child = Process::builder(send).args((sender,)).daemon(true).start().unwrap();
        check(&receiver.recv_bytes_timeout(Duration::from_secs(20)).unwrap());
        random.pause(Duration::from_millis(30));
        kill(&child);
        loop {
            match receiver.recv_bytes_timeout(Duration::from_secs(20)) {
                Ok(bytes) => check(&bytes),
                Err(Error::Closed) => break,
                Err(error) => panic!("{error}"),
            }
            arrived += 1;
        }
    }
    assert!(arrived > 0);

    // Of two who receive, one is killed and replaced again and again, the other goes on.
    let (sender, receiver) = pipe::simplex().unwrap();
    let start = |received: &AtomicValue<u64>| {
        Process::builder(receive).args((receiver.clone(), received.clone())).daemon(true).start().unwrap()
    };
    let counts = [AtomicValue::new(0).unwrap(), AtomicValue::new(0).unwrap()];
    let sending = Process::builder(send).args((sender,)).daemon(true).start().unwrap();
    let (stays, mut victim) = (start(&counts[0]), start(&counts[1]));
    for _ in 0..ROUNDS {
        random.pause(Duration::from_millis(30));
        kill(&victim);
        let before = counts[0].load(SeqCst);
        eventually(|| counts[0].load(SeqCst) > before);
        victim = start(&counts[1]);
    }
    kill(&sending);
    for receiver in [stays, victim] {
        match receiver.join_timeout(Duration::from_secs(20)) {
            Err(Error::Closed) => {}
            other => panic!("{other:?}"),
        }
    }
}
