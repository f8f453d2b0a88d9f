//! A service in the server: its thread, and what that does with calls.
//!
//! A request is the name of a method, with the length before it in one byte, and its arguments as serde has them. An answer is a
//! byte, 0 and the value, or 1 and an error.

use std::{
    mem,
    os::fd::OwnedFd,
    process,
    sync::{Arc, mpsc},
    thread,
};

use serde::Serialize;

use super::{
    super::{
        desk::{Attendant, Client, Desk, Event, Office},
        protocol,
        server::AbortOnUnwind,
    },
    arrived, maker, waits,
};
use crate::{
    Error, Result,
    process::{Message, Outcome, caught},
    region::ticket::{self, Route},
};

/// Answered when the service is made. No method is called so, nor as the others here.
pub(super) const IS_MADE: &str = "";
pub(super) const IS_POISONED: &str = "?";
pub(super) const CLEAR_POISON: &str = "!";

/// What goes with an answer.
pub type Sent = Vec<OwnedFd>;

/// What a thread is started with.
pub(super) type Life = fn(Order);

/// What is to be made, and where it is asked.
pub(super) struct Order {
    desk: Arc<Desk>,
    events: mpsc::Receiver<Event>,
    args: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// A service, as the objects have it: dropped, its thread ends.
pub(in crate::manager) struct OpenDesk {
    desk: Arc<Desk>,
    tag: String,
}

impl OpenDesk {
    /// Where it is asked.
    ///
    /// # Errors
    ///
    /// `TypeMismatch`.
    pub(in crate::manager) fn desk(&self, tag: String) -> Result<&Arc<Desk>> {
        if self.tag == tag {
            Ok(&self.desk)
        } else {
            Err(Error::TypeMismatch { expected: tag, found: self.tag.clone() })
        }
    }
}

impl Drop for OpenDesk {
    fn drop(&mut self) {
        self.desk.tell(Event::End);
    }
}

/// Starts the thread of a service, which makes it.
pub(in crate::manager) fn open(
    (build, place): (&[u8], u64),
    tag: String,
    (args, descriptors): (Vec<u8>, Vec<OwnedFd>),
) -> Result<OpenDesk> {
    let life = maker::life_at(build, place)?;
    let (desk, events) = Desk::new()?;
    let order = Order { desk: Arc::clone(&desk), events, args, descriptors };
    // A thread's name ends at a zero byte.
    let name = tag.split([' ', '\0']).next().unwrap_or_default().to_owned();
    let started = thread::Builder::new().name(name).spawn(move || {
        let abort = AbortOnUnwind;
        life(order);
        mem::forget(abort);
    });
    started.map_err(|error| Error::os("starting a thread", error))?;
    Ok(OpenDesk { desk, tag })
}

impl Order {
    /// Makes the service, and does what is asked of it until nobody has it.
    pub(super) fn live<A: Message, S: 'static>(
        self,
        make: impl FnOnce(A) -> Result<S>,
        dispatch: fn(&mut S, &str, Call<'_>) -> Result<Sent>,
    ) {
        let Self { desk, events, args, descriptors } = self;
        waits::begin_life(&desk.bell);
        let made = caught(|| make(ticket::decode_from(&args, arrived(descriptors)?, Route::default())?));
        drop(args);
        let service: Result<Box<Methods>, Vec<u8>> = match made {
            Ok(Ok(mut service)) => Ok(Box::new(move |method, call| dispatch(&mut service, method, call))),
            Ok(Err(error)) | Err(error) => Err(protocol::error_bytes(&error)),
        };
        let mut host = Host { office: Office::new(Arc::clone(&desk), events), service, is_poisoned: false };
        desk.attend(&mut host);
        // Its end may panic, and is nobody's concern.
        let _ = caught(|| drop(host));
    }
}

type Methods = dyn FnMut(&str, Call<'_>) -> Result<Sent>;

/// The thread of a service.
struct Host {
    office: Office,
    /// Or the error for which it could not be made.
    service: Result<Box<Methods>, Vec<u8>>,
    is_poisoned: bool,
}

impl Attendant for Host {
    fn office(&mut self) -> &mut Office {
        &mut self.office
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Enter(peer, line) => self.office.clients.push(Client::new(peer, line)),
            Event::Leave(number) => self.office.clients.retain(|client| client.peer.number != number),
            Event::Unhold(_) | Event::Return(_) | Event::End => {}
        }
    }

    fn serve(&mut self, at: usize, asked: u32) {
        let (service, is_poisoned) = (&mut self.service, &mut self.is_poisoned);
        let mut answer = mem::take(&mut self.office.answer);
        answer.clear();
        answer.push(0);
        let result = self.office.request(at, |bytes, descriptors| {
            let (method, args) = read_method(bytes)?;
            let service = service.as_mut().map_err(|error| protocol::read_error(error))?;
            let call = Call { args, descriptors, answer: &mut answer, is_poisoned };
            match method {
                IS_MADE => call.reply(&()),
                IS_POISONED => {
                    let is_poisoned = *call.is_poisoned;
                    call.reply(&is_poisoned)
                }
                CLEAR_POISON => {
                    *call.is_poisoned = false;
                    call.reply(&())
                }
                _ => service(method, call),
            }
        });
        let descriptors = result.unwrap_or_else(|error| {
            write_error(&error, &mut answer);
            Vec::new()
        });
        self.office.answer = answer;
        let descriptors = (!descriptors.is_empty()).then(|| descriptors.into());
        self.office.give(at, asked, descriptors, |error, bytes| write_error(&error, bytes));
    }
}

fn write_error(error: &Error, into: &mut Vec<u8>) {
    into.clear();
    into.push(1);
    into.extend(protocol::error_bytes(error));
}

/// Puts the name of a method before its arguments.
pub(super) fn write_method(method: &str, into: &mut Vec<u8>) -> Result<()> {
    let length = u8::try_from(method.len())
        .map_err(|_| Error::invalid_argument(format!("the name of a method is longer than 255 bytes: {method}")))?;
    into.push(length);
    into.extend_from_slice(method.as_bytes());
    Ok(())
}

fn read_method(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let wrong = || Error::corrupt("a call without a method");
    let (length, rest) = bytes.split_first().ok_or_else(wrong)?;
    let (method, args) = rest.split_at_checked(usize::from(*length)).ok_or_else(wrong)?;
    Ok((str::from_utf8(method).map_err(|_| wrong())?, args))
}

/// A call of a method, which is about to be carried out.
pub struct Call<'a> {
    args: &'a [u8],
    descriptors: Vec<OwnedFd>,
    answer: &'a mut Vec<u8>,
    is_poisoned: &'a mut bool,
}

impl Call<'_> {
    /// Carries it out by a method, which has `&mut self` if `changes` is not empty.
    ///
    /// # Errors
    ///
    /// What the caller is told.
    #[inline]
    pub fn run<const N: usize, A: Message, R: Outcome>(
        mut self,
        changes: [&str; N],
        method: impl FnOnce(A) -> R,
    ) -> Result<Sent> {
        if *self.is_poisoned {
            return Err(Error::Poisoned { pid: Some(process::id()), range: None });
        }
        let descriptors = mem::take(&mut self.descriptors);
        let args = caught(|| ticket::decode_from(self.args, arrived(descriptors)?, Route::default()))??;
        let returned = caught(|| method(args).into_result());
        if returned.is_err() && !changes.is_empty() {
            *self.is_poisoned = true;
        }
        let value = returned??;
        caught(move || self.reply(&value))?
    }

    /// Answers that there is no such method.
    ///
    /// # Errors
    ///
    /// Always.
    #[cold]
    pub fn refuse(self, name: &str, method: &str) -> Result<Sent> {
        Err(Error::invalid_argument(format!("{name} has no method {method:?}")))
    }

    fn reply(self, value: &impl Serialize) -> Result<Sent> {
        ticket::encode_into(value, Route::default(), self.answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, test_runner::Config};

    use super::*;
    use crate::{
        Value,
        manager::{
            desk::{Peer, Turn},
            service::Serves,
            words::{self, Bytes, ROOM},
        },
        os::{clock::Wait, ends::End, pipe},
    };

    crate::service! {
        trait Log as LogProxy {
            fn note(&mut self, text: String, numbers: Vec<u32>) -> u64;
            fn value(&mut self, value: Value<u8>);
            fn fill(&self, length: usize) -> Vec<u8>;
        }
    }

    impl Log for Vec<(String, Vec<u32>)> {
        fn note(&mut self, text: String, numbers: Vec<u32>) -> u64 {
            self.push((text, numbers));
            self.len() as u64
        }

        fn value(&mut self, _: Value<u8>) {}

        fn fill(&self, length: usize) -> Vec<u8> {
            vec![7; length]
        }
    }

    /// A service without a thread and clients that are processes: with one client, whose end of the socket this is.
    fn host() -> (Host, End) {
        let (desk, events) = Desk::new().unwrap();
        let (ours, theirs) = End::pair().unwrap();
        let peer = Peer::new(1, theirs, None);
        let mut log = Vec::new();
        let service: Box<Methods> = Box::new(move |method, call| LogProxy::dispatch(&mut log, method, call));
        let mut host = Host { office: Office::new(desk, events), service: Ok(service), is_poisoned: false };
        host.office.clients.push(Client::new(peer, words::new_line().unwrap()));
        (host, ours)
    }

    fn asks(host: &mut Host, number: u32, bytes: Option<&[u8]>) -> Bytes {
        let line = host.office.clients[0].line.clone();
        words::requests(&line).put(number, bytes);
        assert!(matches!(host.turn(), Turn::Done));
        assert_eq!(words::answers(&line).number(), number);
        words::answers(&line).get(&mut host.office.request).unwrap()
    }

    /// Puts bytes in as a request, and reads the answer, which is short.
    fn ask(host: &mut Host, number: u32, bytes: &[u8]) -> Result<Vec<u8>> {
        assert_eq!(asks(host, number, Some(bytes)), Bytes::InLine);
        match host.office.request.split_first().unwrap() {
            (0, value) => Ok(value.to_vec()),
            (_, error) => Err(protocol::read_error(error)),
        }
    }

    fn request(method: &str, args: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_method(method, &mut bytes).unwrap();
        assert!(ticket::encode_into(args, Route::default(), &mut bytes).unwrap().is_empty());
        bytes
    }

    proptest! {
        #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

        /// Right and damaged calls in any order: each has an answer, and only a right one was carried out.
        #[test]
        fn any_bytes(
            requests in vec(
                prop_oneof![
                    4 => ("[a-z]{0,9}", vec(any::<u32>(), 0..9)).prop_map(|args| request("note", &args)),
                    1 => (0_usize..99).prop_map(|length| request("fill", &(length,))),
                    1 => Just(request("value", &(1_u64, 2_u64, 3_u32))),
                    1 => "[a-z!?]{0,9}".prop_map(|method| request(&method, &7)),
                    2 => vec(any::<u8>(), 0..64),
                ],
                1..40,
            ),
            damage in vec(proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())), 40),
        ) {
            let (mut host, _socket) = host();
            let mut notes = 0_u64;
            for ((number, mut bytes), damage) in (1..).zip(requests).zip(damage) {
                if let Some((at, byte)) = damage.filter(|_| !bytes.is_empty()) {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                let is_note = bytes.starts_with(b"\x04note");
                if let Ok(value) = ask(&mut host, number, &bytes) && is_note {
                    notes += 1;
                    prop_assert_eq!(postcard::from_bytes::<u64>(&value).unwrap(), notes);
                }
            }
            let value = ask(&mut host, 1000, &request("note", &("", Vec::<u32>::new()))).unwrap();
            prop_assert_eq!(postcard::from_bytes::<u64>(&value).unwrap(), notes + 1);
            prop_assert!(!host.is_poisoned);
        }
    }

    /// A name that no thread can have.
    #[test]
    fn any_tag_is_one() {
        fn place<F: maker::Maker<LogProxy, (), M>, M>(_: F) -> u64 {
            maker::place_of::<LogProxy, F, (), M>().unwrap()
        }
        let build = crate::os::executable::Executable::this().identity();
        let place = place(Vec::<(String, Vec<u32>)>::new);
        let desk = open((build, place), "a\0b".into(), (Vec::new(), Vec::new())).unwrap();
        assert!(desk.desk("a\0b".into()).is_ok());
    }

    /// A packet that never came, a descriptor of something else, lengths that are none, answers that nobody takes.
    #[test]
    fn broken_lines() {
        let (mut host, socket) = host();
        assert_eq!(asks(&mut host, 1, None), Bytes::InLine);
        let file = crate::os::files::anonymous().unwrap();
        pipe::send(&socket, 0, &request("value", &(0_u32, 0_u32)), &[file], Wait::No).unwrap();
        assert_eq!(asks(&mut host, 2, None), Bytes::InLine);
        assert!(ask(&mut host, 3, &[]).is_err());
        assert!(ask(&mut host, 4, &[200, b'n']).is_err());
        assert!(ask(&mut host, 5, &[2, 0xff, 0xff]).is_err());
        assert!(ask(&mut host, 6, &request("note", &("a", u64::MAX))).is_err());
        let unknown = ask(&mut host, 7, &request("push", &()));
        assert!(matches!(unknown, Err(Error::InvalidArgument { reason }) if reason == "Log has no method \"push\""));
        for number in 8..1000 {
            if asks(&mut host, number, Some(&request("fill", &(ROOM + 1,)))) == Bytes::InLine {
                let error = protocol::read_error(&host.office.request[1..]);
                assert!(error.is_would_block(), "{error}");
                return;
            }
        }
        panic!("it would take answers for ever");
    }
}
