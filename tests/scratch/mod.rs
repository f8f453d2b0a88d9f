//! Names and files of which tests leave nothing, and processes that run one test of this program.
#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::{
    env, fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use shmkit::Region;

static COUNT: AtomicU32 = AtomicU32::new(0);

fn unique() -> String {
    format!("shmkit-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

/// A name of shared memory that nobody else has, removed in the end.
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new() -> Self {
        Self(unique())
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Region::unlink(self.0.as_str());
    }
}

/// A directory of its own, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = env::temp_dir().join(unique());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The variable that tells a test which part it plays: set in the processes that [`part`] makes.
const PART: &str = "SHMKIT_TEST_PART";

/// A command that runs only the test `test` of this program, with `argument` as its [`role`].
pub(crate) fn part(test: &str, argument: &str) -> Command {
    part_under(&[], test, argument)
}

/// As [`part`], started by another program: `unshare --pid --fork`, say.
pub(crate) fn part_under(starter: &[&str], test: &str, argument: &str) -> Command {
    let program = env::current_exe().unwrap();
    let mut command = match starter {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PART, argument);
    command
}

/// What [`part`] was told, in a process made by it.
pub(crate) fn role() -> Option<String> {
    env::var(PART).ok()
}

/// Runs a command to its end, which must be a success within half a minute.
pub(crate) fn succeed(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = finish(child);
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

/// Waits for the end of a child, which is killed when it takes longer than half a minute.
pub(crate) fn finish(mut child: Child) -> Output {
    let end = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// Whether this process may make namespaces and change owners.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// The words of an object in a file, to be overwritten while it is in use.
pub(crate) struct Words {
    file: fs::File,
    at: u64,
}

impl Words {
    /// Those of the object in the file `path` that begin `before` bytes before the first place where `mark` is.
    pub(crate) fn find(path: &Path, mark: &[u8], before: u64) -> Self {
        let image = fs::read(path).unwrap();
        let at = image.windows(mark.len()).position(|bytes| bytes == mark).expect("the mark is in");
        let file = fs::File::options().write(true).open(path).unwrap();
        Self { file, at: at as u64 - before }
    }

    /// Where they begin in the file.
    pub(crate) fn start(&self) -> u64 {
        self.at
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.at + offset).unwrap();
    }

    pub(crate) fn set_u64(&self, offset: u64, word: u64) {
        self.write(offset, &word.to_ne_bytes());
    }

    pub(crate) fn set_u32(&self, offset: u64, word: u32) {
        self.write(offset, &word.to_ne_bytes());
    }
}
