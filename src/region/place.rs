//! Where a region is found by programs that were not started by its maker: a name, or a file.

use std::path::{Path, PathBuf};

use crate::{Error, Result, os::files::SHM_DIRECTORY};

/// A name of POSIX shared memory, or the path of a file.
///
/// A string is a name: one to 255 bytes without `/`. A [`Path`] is a file, whose contents outlive the machine's run.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use shmkit::region::Place;
///
/// let memory = Place::from("ocean-temperature");
/// let file = Place::from(Path::new("/data/checkpoint.shm"));
/// assert_eq!(memory.to_string(), "ocean-temperature");
/// assert_eq!(file.to_string(), "/data/checkpoint.shm");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Shared memory of this name.
    Name(String),
    /// A file of the ordinary file system.
    File(PathBuf),
}

impl Place {
    /// The path that the kernel knows it by.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        match self {
            Self::Name(name) => {
                check_name(name)?;
                Ok(Path::new(SHM_DIRECTORY).join(name))
            }
            Self::File(path) if path.file_name().is_none() => {
                Err(Error::InvalidName { name: self.to_string(), reason: "it does not name a file".into() })
            }
            Self::File(path) => Ok(path.clone()),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let reason = match name {
        "" => "it is empty".into(),
        "." | ".." => "it is a directory's".into(),
        _ if name.len() > 255 => format!("it has {} bytes, the most is 255", name.len()),
        _ if name.contains('/') => "it contains a slash (for a file, give a Path)".into(),
        _ if name.contains('\0') => "it contains a NUL".into(),
        _ => return Ok(()),
    };
    Err(Error::InvalidName { name: name.into(), reason })
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl From<&str> for Place {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<String> for Place {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<&String> for Place {
    fn from(name: &String) -> Self {
        Self::Name(name.clone())
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none() {
        for name in ["", ".", "..", "a/b", "/a", "a\0b", &"x".repeat(300)] {
            assert!(matches!(Place::from(name).path(), Err(Error::InvalidName { .. })), "{name:?}");
        }
        assert!(Place::from(Path::new("/")).path().is_err());
        assert_eq!(Place::from("x".repeat(255)).path().unwrap().file_name().unwrap().len(), 255);
    }
}
