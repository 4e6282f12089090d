//! Opening files by names under which somebody may have put something else: a pipe would have us wait for ever, a device
//! would never end.

use std::{
    error::Error,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Why a file was not read: the inner error of the [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is a pipe, a device, a directory or a socket.
    NotRegular,
    /// It is longer than what is expected there ever is.
    TooLong {
        /// The most that is read, in bytes.
        most: u64,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegular => write!(f, "it is no regular file"),
            Self::TooLong { most } => write!(f, "it is longer than {most} bytes, the most that is read"),
        }
    }
}

impl Error for Unfit {}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        let kind = match unfit {
            Unfit::NotRegular => io::ErrorKind::InvalidInput,
            Unfit::TooLong { .. } => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, unfit)
    }
}

/// Opens a regular file, without waiting whatever is there. `flags` are further ones of `open(2)`.
///
/// # Errors
/// [`Unfit::NotRegular`], and what the system answers.
pub fn open_as(options: &mut OpenOptions, flags: i32, path: &Path) -> io::Result<File> {
    let opened = options.custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        // A socket, or a pipe that nobody reads.
        Some(libc::ENXIO) => Unfit::NotRegular.into(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Unfit::NotRegular.into()) }
}

/// The same for reading.
///
/// # Errors
/// As [`open_as`].
pub fn open(path: &Path) -> io::Result<File> {
    open_as(OpenOptions::new().read(true), 0, path)
}

/// What an opened file holds, if that is not more than `most` bytes.
///
/// # Errors
/// [`Unfit::TooLong`], and what the system answers.
pub fn contents(file: File, most: u64) -> io::Result<Vec<u8>> {
    let too_long = || Err(Unfit::TooLong { most }.into());
    if file.metadata()?.len() > most {
        return too_long();
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile, and some files do not tell their length.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { too_long() } else { Ok(bytes) }
}

/// What a regular file holds, if that is not more than `most` bytes.
///
/// # Errors
/// As [`open_as`] and [`contents`].
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    contents(open(path)?, most)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use super::*;

    fn unfit(result: io::Result<Vec<u8>>) -> Option<Unfit> {
        result.expect_err("unfit").get_ref()?.downcast_ref().copied()
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs");
        assert!(made.success());
        let _listener = UnixListener::bind(at("socket")).expect("bound");
        symlink("/dev/zero", at("zeros")).expect("made");
        for name in ["pipe", "socket", "zeros", "."] {
            assert_eq!(unfit(read(&at(name), 10)), Some(Unfit::NotRegular), "{name}");
        }
        assert_eq!(read(&at("none"), 10).expect_err("nothing there").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_through_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, b"0123456789").expect("written");
        symlink(&file, &link).expect("made");
        assert_eq!(read(&link, 10).expect("it fits"), b"0123456789");
        assert_eq!(unfit(read(&link, 9)), Some(Unfit::TooLong { most: 9 }));
        // A file that tells no length.
        assert_eq!(unfit(read(Path::new("/proc/self/status"), 9)), Some(Unfit::TooLong { most: 9 }));
    }
}
