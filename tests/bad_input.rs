//! What a region is made or opened with may be wrong in any way: each is a clear error, and costs nothing.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shmkit::{Array, AtomicArray, AtomicValue, Error, Lock, Queue, RLock, RawArray, Region, Value};

/// A file in the temporary directory that goes with this.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shmkit-bad-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    /// One with a region for one `Value<u64>` of 7.
    fn with_value(name: &str) -> Self {
        let scratch = Self::new(name);
        Value::create(scratch.path(), 7_u64).unwrap();
        scratch
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn patch(&self, at: u64, bytes: &[u8]) {
        File::options().write(true).open(&self.0).unwrap().write_all_at(bytes, at).unwrap();
    }

    fn open(&self) -> Error {
        Value::<u64>::open(self.path()).unwrap_err()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A name in shared memory that goes with this.
struct Name(String);

impl Name {
    fn new(name: &str) -> Self {
        Self(format!("shmkit-bad-{name}-{}", std::process::id()))
    }

    fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Region::unlink(&self.0);
    }
}

#[test]
fn names_that_are_none() {
    for name in ["", "a/b", "/a", ".", "..", "a\0b", &"n".repeat(300)] {
        assert!(matches!(Value::create(name, 1), Err(Error::InvalidName { .. })), "{name:?}");
        assert!(matches!(Value::<i32>::open(name), Err(Error::InvalidName { .. })), "{name:?}");
        assert!(matches!(Region::unlink(name), Err(Error::InvalidName { .. })), "{name:?}");
    }
    let region = Region::anonymous(4096).unwrap();
    for name in ["", "a\0b", &"n".repeat(300)] {
        assert!(matches!(Value::new_in(&region, name, 1), Err(Error::InvalidName { .. })), "{name:?}");
        assert!(matches!(Value::<i32>::open_in(&region, name), Err(Error::InvalidName { .. })), "{name:?}");
    }
    // Slashes mean nothing inside a region.
    assert!(Value::new_in(&region, "ocean/temperature", 1).is_ok());
}

#[test]
fn sizes_that_cannot_be() {
    assert!(matches!(Region::anonymous(0), Err(Error::InvalidSize { .. })));
    assert!(matches!(Region::anonymous(usize::MAX), Err(Error::InvalidSize { .. })));
    for shape in [[usize::MAX, 2], [1 << 40, 1 << 40], [usize::MAX / 8, 1]] {
        assert!(matches!(Array::<u64>::zeros(shape), Err(Error::InvalidSize { .. })), "{shape:?}");
    }
    assert!(matches!(Array::<u8>::zeros([1; 9]), Err(Error::InvalidSize { .. })));
    assert!(matches!(Array::<u8>::zeros([0_usize; 0]), Err(Error::InvalidSize { .. })));
    assert_eq!(Array::<u8>::zeros([1; 8]).unwrap().shape(), [1; 8]);
    assert_eq!(Array::<u8>::zeros([3, 0]).unwrap().to_vec().unwrap(), []);
}

#[test]
fn more_memory_than_there_is() {
    let Err(Error::OutOfMemory { needed, left, .. }) = Region::anonymous(1 << 46) else { panic!("no error") };
    assert!(needed == 1 << 46 && left < needed);
    let name = Name::new("huge");
    assert!(matches!(Region::create(&name.0, 1 << 46), Err(Error::OutOfMemory { .. })));
    assert!(!name.path().exists());
    // What is never touched costs nothing.
    assert_eq!(Region::options().size(1 << 40).sparse(true).create().unwrap().size(), 1 << 40);
}

#[test]
fn a_full_file_system() {
    // Needs the right to mount in a namespace of its own; the program runs itself there.
    if std::env::var_os("SHMKIT_BAD_SMALL").is_some() {
        let error = Region::create("full", 8 << 20).unwrap_err();
        assert!(
            matches!(&error, Error::OutOfMemory { needed, left, .. } if *needed == 8 << 20 && *left < *needed),
            "{error}"
        );
        assert!(!Path::new("/dev/shm/full").exists());
        // The table of claims gets its memory with the first one: where there is none, that is an error too.
        let array = Array::<u8>::create("array", 100).unwrap();
        let mut rest = File::create("/dev/shm/rest").unwrap();
        while rest.write(&[1; 4096]).is_ok() {}
        let error = array.claim_mut(10..20).unwrap_err();
        assert!(matches!(&error, Error::OutOfMemory { needed, .. } if *needed > 4096), "{error}");
        array.set(99, 1).unwrap();
        drop(rest);
        fs::remove_file("/dev/shm/rest").unwrap();
        array.claim_mut(10..20).unwrap().fill(7);
        assert_eq!(array.get(19).unwrap(), 7);
        println!("it was full");
        return;
    }
    let script = "mount -t tmpfs -o size=4m small /dev/shm && exec \"$0\" --exact a_full_file_system --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SHMKIT_BAD_SMALL", "1")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("it was full"));
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains("Operation not permitted") || text.contains("permission denied"), "{text}");
            eprintln!("skipped: no right to mount");
        }
        Err(error) => eprintln!("skipped: {error}"),
    }
}

#[test]
fn another_pid_namespace() {
    let name = "shmkit-bad-namespace";
    if std::env::var_os("SHMKIT_BAD_INSIDE").is_some() {
        let error = Value::<u64>::open(name).unwrap_err();
        assert!(matches!(error, Error::OtherPidNamespace { expected, found } if expected != found), "{error}");
        // Without locks there is nothing to go wrong.
        assert_eq!(Value::<u64>::open_read_only(name).unwrap().get(), 7);
        println!("it was refused");
        return;
    }
    let _ = Region::unlink(name);
    let _value = Value::create(name, 7_u64).unwrap();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "another_pid_namespace", "--nocapture"])
        .env("SHMKIT_BAD_INSIDE", "1")
        .output();
    Region::unlink(name).unwrap();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("it was refused"));
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains("Operation not permitted") || text.contains("permission denied"), "{text}");
            eprintln!("skipped: no right to make a namespace");
        }
        Err(error) => eprintln!("skipped: {error}"),
    }
}

#[test]
fn files_that_are_no_regions() {
    let scratch = Scratch::new("foreign");
    fs::write(scratch.path(), b"").unwrap();
    assert!(matches!(scratch.open(), Error::NotReady { .. }));
    fs::write(scratch.path(), b"short").unwrap();
    assert!(matches!(scratch.open(), Error::NotARegion { .. }));
    fs::write(scratch.path(), vec![0; 8192]).unwrap();
    assert!(matches!(scratch.open(), Error::NotARegion { .. }));
    fs::write(scratch.path(), "To be or not to be. ".repeat(500)).unwrap();
    assert!(matches!(scratch.open(), Error::NotARegion { .. }));
    // Whatever it is, it is not written to.
    assert!(matches!(Value::create(scratch.path(), 1_u64), Err(Error::AlreadyExists { .. })));
    assert!(matches!(Value::open_or_create(scratch.path(), 1_u64), Err(Error::NotARegion { .. })));
    assert!(fs::read_to_string(scratch.path()).unwrap().starts_with("To be or not to be. "));
}

#[test]
fn things_that_are_no_files() {
    let directory = std::env::temp_dir();
    assert!(Value::<u64>::open(directory.as_path()).is_err());
    assert!(Value::create(directory.as_path(), 1_u64).is_err());

    let target = Scratch::with_value("target");
    let link = Scratch::new("link");
    symlink(target.path(), link.path()).unwrap();
    assert!(matches!(link.open(), Error::WrongOwner { .. }));

    let pipe = Scratch::new("pipe");
    assert!(Command::new("mkfifo").arg(pipe.path()).status().unwrap().success());
    assert!(matches!(pipe.open(), Error::NotARegion { .. }));

    let nowhere = Path::new("/nowhere/at/all");
    assert!(matches!(Value::<u64>::open(nowhere), Err(Error::NotFound { .. })));
    assert!(matches!(Value::create(nowhere, 1_u64), Err(Error::NotFound { .. })));
}

#[test]
fn what_others_may_write_is_not_trusted() {
    let scratch = Scratch::with_value("permissions");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o620)).unwrap();
    assert!(matches!(scratch.open(), Error::WrongOwner { .. }));
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Value::<u64>::open(scratch.path()).unwrap().get().unwrap(), 7);
    if std::os::unix::fs::chown(scratch.path(), Some(12345), None).is_ok() {
        let error = scratch.open();
        assert!(matches!(&error, Error::WrongOwner { reason, .. } if reason.contains("12345")), "{error}");
    }
}

#[test]
fn headers_that_lie() {
    type Check = fn(&Error) -> bool;
    let cases: [(&str, u64, &[u8], Check); 8] = [
        ("version", 8, &9_u32.to_ne_bytes(), |e| matches!(e, Error::VersionMismatch { expected: 1, found: 9 })),
        ("order", 12, &0x0403_0201_u32.to_ne_bytes(), |e| matches!(e, Error::OtherPlatform { .. })),
        ("width", 16, &32_u32.to_ne_bytes(), |e| matches!(e, Error::OtherPlatform { .. })),
        ("size", 24, &u64::MAX.to_ne_bytes(), |e| matches!(e, Error::Corrupt { .. })),
        ("table", 72, &u64::MAX.to_ne_bytes(), |e| matches!(e, Error::Corrupt { .. })),
        ("buckets", 80, &3_u64.to_ne_bytes(), |e| matches!(e, Error::Corrupt { .. })),
        ("root", 104, &4095_u64.to_ne_bytes(), |e| matches!(e, Error::Corrupt { .. })),
        ("complete", 176, &0_u64.to_ne_bytes(), |e| matches!(e, Error::NotReady { .. })),
    ];
    for (field, at, bytes, expected) in cases {
        let scratch = Scratch::with_value(&format!("header-{field}"));
        scratch.patch(at, bytes);
        let error = scratch.open();
        assert!(expected(&error), "{field}: {error:?}");
    }
}

#[test]
fn truncated_files() {
    for len in [1, 8, 100, 183, 184, 239, 240, 300, 4095] {
        let scratch = Scratch::with_value(&format!("truncated-{len}"));
        File::options().write(true).open(scratch.path()).unwrap().set_len(len).unwrap();
        let error = scratch.open();
        let expected = matches!(error, Error::NotReady { .. } | Error::NotARegion { .. } | Error::Corrupt { .. });
        assert!(expected, "{len}: {error:?}");
    }
}

#[test]
fn other_types_kinds_and_shapes() {
    let name = Name::new("types");
    let array = Array::<f64>::create(&name.0, [3, 4]).unwrap();
    let error = Array::<i64>::open(&name.0).unwrap_err().to_string();
    assert!(error.contains("f64") && error.contains("i64") && error.contains("[3, 4]"), "{error}");
    assert!(matches!(Value::<f64>::open(&name.0), Err(Error::TypeMismatch { .. })));
    assert!(matches!(RawArray::<f64>::open(&name.0), Err(Error::TypeMismatch { .. })));
    assert!(matches!(AtomicArray::<f64>::open(&name.0), Err(Error::TypeMismatch { .. })));
    assert!(matches!(AtomicValue::<f64>::open(&name.0), Err(Error::TypeMismatch { .. })));
    assert!(matches!(Lock::open(&name.0), Err(Error::TypeMismatch { .. })));
    assert!(matches!(RLock::open(&name.0), Err(Error::TypeMismatch { .. })));
    assert!(matches!(Array::<f64>::open_or_create(&name.0, [4, 3]), Err(Error::TypeMismatch { .. })));
    assert!(Array::<f64>::open_or_create(&name.0, [3, 4]).unwrap().is_same(&array));
    // Attaching never removes the name, whatever fails.
    assert!(name.path().exists());
    // A region of many objects is not one of them.
    let region = Name::new("region");
    Region::create(&region.0, 4096).unwrap();
    assert!(matches!(Value::<u8>::open(&region.0), Err(Error::TypeMismatch { .. })));
}

/// What is written as a region and a number, and read as a handle.
enum Forged {
    Written(Region, u64),
    Read(#[expect(dead_code, reason = "that it can be had is too much")] Value<u64>),
}

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self::Written(region, at) = self else { panic!("read already") };
        (region, at).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::Read)
    }
}

/// A handle whose lock cannot be written would end the process that uses it.
#[test]
fn no_handle_of_a_mapping_that_cannot_be_written() {
    let scratch = Scratch::with_value("forged");
    let region = Region::options().file(scratch.path()).read_only(true).open().unwrap();
    let queue = Queue::new().unwrap();
    for at in (0..4096).step_by(8) {
        queue.put(&Forged::Written(region.clone(), at)).unwrap();
        assert!(queue.get().is_err(), "at {at}");
    }
}

#[test]
fn a_full_region_says_what_is_left() {
    let region = Region::anonymous(4096).unwrap();
    let left = region.left().unwrap();
    let error = Array::<u8>::zeros_in(&region, "a", 4096).unwrap_err();
    assert!(matches!(error, Error::RegionFull { needed, left: l } if needed > 4096 && l == left as u64), "{error}");
    // The failed one cost nothing.
    assert_eq!(region.left().unwrap(), left);
    assert!(Array::<u8>::zeros_in(&region, "a", 1000).is_ok());
    assert!(matches!(Array::<u8>::zeros_in(&region, "a", 8), Err(Error::AlreadyExists { .. })));
}

#[test]
fn no_descriptors_left() {
    // In a process of its own: the limit holds for all threads.
    if std::env::var_os("SHMKIT_BAD_FILES").is_some() {
        let mut values = Vec::new();
        let error = loop {
            match Value::new(0_u8) {
                Ok(value) => values.push(value),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("*_in(&region"), "{error}");
        println!("{} values", values.len());
        return;
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" --exact no_descriptors_left --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("SHMKIT_BAD_FILES", "1")
        .output()
        .unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("values"), "{output:?}");
}

/// A copy of the file, and the same file after a restart of the machine, have locks that no kernel will ever release.
#[test]
fn a_copy_and_a_restart_free_the_locks() {
    let scratch = Scratch::new("epoch");
    let value = Value::create(scratch.path(), 7_u64).unwrap();
    let copy = Scratch::new("epoch-copy");
    {
        let _held = value.lock().unwrap();
        fs::copy(scratch.path(), copy.path()).unwrap();
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let copied = Value::<u64>::open(copy.path()).unwrap();
    let Err(Error::Poisoned { pid, .. }) = copied.try_lock() else { panic!("not poisoned") };
    assert_eq!(pid, Some(std::process::id()));
    let mut guard = copied.recover().unwrap();
    guard.clear_poison();
    assert_eq!(*guard, 7);
    drop(guard);
    drop((copied, value));
    // The second time there is nothing to mend.
    assert_eq!(Value::<u64>::open(copy.path()).unwrap().get().unwrap(), 7);

    let mut boot = [0; 1];
    let mut file = File::open(scratch.path()).unwrap();
    file.seek(SeekFrom::Start(40)).unwrap();
    file.read_exact(&mut boot).unwrap();
    scratch.patch(40, &[!boot[0]]);
    assert_eq!(Value::<u64>::open(scratch.path()).unwrap().get().unwrap(), 7);
    file.seek(SeekFrom::Start(40)).unwrap();
    let mut again = [0; 1];
    file.read_exact(&mut again).unwrap();
    assert_eq!(again, boot, "this boot is on record now");
}

#[test]
fn a_half_made_file_is_finished_by_the_next() {
    let scratch = Scratch::new("half");
    fs::write(scratch.path(), b"").unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(scratch.open(), Error::NotReady { .. }));
    assert_eq!(Value::open_or_create(scratch.path(), 5_u64).unwrap().get().unwrap(), 5);
    assert_eq!(Value::<u64>::open(scratch.path()).unwrap().get().unwrap(), 5);
    let mut file = File::options().write(true).open(scratch.path()).unwrap();
    file.write_all(b"To be").unwrap();
}
